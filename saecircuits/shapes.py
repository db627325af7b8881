"""The glossary of axes, and the two conventions that every shape in this package follows.

Axes (two different axes never share a name):

    batch     prompts worked on together
    pos       token positions, padded on the right; position 0 is the BOS token
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

Adjacency is `A[target, source]`: row = the node that reads, column = the node that is read.

An *effect* is what a node or an edge contributes: the metric on the clean prompt minus the metric
with that node or edge at its baseline. Positive effects support the answer.
"""
