"""What the page says beside its tables, whatever the figures are."""

from typing import Final

HOW: Final = """\
Every measurement has a process of its own. After one pass that is not timed, the middle of three
or more is taken; slow engines on all targets are timed once. CPU seconds are user and system time
of all threads. Peak memory is the largest resident size above the loaded model and dictionaries.
The machine's rate is that of products of float32 matrices of the MLP's shape, per CPU second, the
best of several rounds in the same process. Wall seconds count whatever else the machine was doing;
CPU seconds grow with that too, through shared caches, but less."""

COUNT: Final = """\
What the factorised engine cannot do without, for all edges of a size: a product of `[n, k]` with
`[k, m]` counts `2 n k m`. The one forward pass is not in it."""

NOTES: Final = {
    "Edges": """\
All engines compute the same edges, full gradient, effects and weights alike. At the published
sizes the two engines of vector-Jacobian products (VJP), which are autograd's, take minutes for all
targets: they are measured on a part of them, evenly spread over layers and tokens, and their time
is scaled to all (`--full` measures all).""",
    "Work behind the edges": """\
"TFLOP" is what torch counts of the products that an engine carries out; "share of rate" is the time
of these products at the machine's rate, over the time taken. "Difference" is the largest difference
from the factorised engine of a target's summed |effect|, relative to the largest of these sums.""",
    "Nodes": """\
Effects of every feature, error and token under a baseline; those that are not zero are counted.
"Bare" is one forward and one backward pass of the model without dictionaries, from the metric to
the token embedding, and one pass of every encoder. The corrupted baseline takes one more forward
pass with encoders.""",
    "Parts of every edge": """\
Time with the components of every edge told apart, and without, in turn in one process: by the
engine alone, with as many targets at once either way, and through `sc.attribute(..., parts=...)`
with everything else that it does.""",
    "Edge ablation": """\
The circuit's metric on all prompts together, every node reading its parents in the circuit alone,
beside one forward pass of the same prompts. The least of five and of twenty times counts, after one
that is not timed: the ratio is of the work, not of what else the machine was doing.""",
    "Distant sites": """\
`attribute` where whole blocks lie between sites: with thresholds crossed, as by default, and with
gates held; by the engine that is chosen automatically, which tells parts apart, and by batched
vector-Jacobian products, which do not. Edges count from the last node's effect to the graph, with
what every call does beside them; the middle of three calls after one that is not timed, whose
memory is given. "Difference" is that of an edge's effect at most, relative to the largest.""",
    "Growth": """\
The factorised engine alone, on one thread. Over targets and layers, dictionaries have 6,144
features, on which edges do not depend. Over prompt length the number of targets stays, and sources
and edges grow with the prompt. Layers are counted in adjacent pairs, which edges are between. The
dashed law is the least-squares straight line: a part spent once and a part for each. The power is
the slope of log time over log of what is varied, at the larger values.""",
    "What was wanted": """\
On one thread. Edges, their memory and nodes at GPT-2 small's size. The bar's count of 0.160 TFLOP
leaves out the sources' way through `W_Q`; the sum of all terms is below.""",
}
