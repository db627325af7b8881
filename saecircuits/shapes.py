"""The glossary of axes, and the two conventions that every shape in this package follows.

Axes (two different axes never share a name):

    batch     prompts worked on together
    pos       token positions, padded on the right; position 0 is what is prepended, if anything
    unit      what a node's place is counted in: a token position, a named span, or the whole prompt
    d_model   width of the residual stream
    d_head    width of one attention head
    d_mlp     width of an MLP's hidden layer
    d_vocab   vocabulary
    d_in      width that a dictionary reads
    d_out     width that a dictionary writes
    d_sae     features of one dictionary
    n_source, n_target, n_node, n_edge    nodes and edges of a graph
    step      integration points

Nouns:

    site        a hook point of the model with a dictionary at it
    place       a site, or the token embedding: where the stream is written, in forward order
    node        a feature, an error node or a token, in one unit; `Spot` is its place in numbers
    error node  what a dictionary leaves out of the tensor that it reconstructs
    edge        what passes from one node to another, or to the metric, and meets no node between
    part        the component (head, MLP, skip) that carries some of an edge
    contrast    a batch of prompts: the clean run, the baseline, and what lies between
    experiment  a model on prompts under fixed choices; its batches are contrasts
    baseline    what a node is set to when it is taken out
    ends        the metric with every node clean, and with every node at its baseline
    graph       effects of all nodes, and edges among the strongest
    circuit     the part of a graph that is kept; its members are features and error nodes
    routes      the strongest paths through a graph, and what all the others carry

Adjacency is `A[target, source]`: row = the node that reads, column = the node that is read.

An *effect* is what a node or an edge contributes: the metric on the clean prompt minus the metric
with that node or edge at its baseline. Positive effects support the answer.
"""
