"""The anatomy of a run: for every block, the maps that its derivatives are made of.

What a Jacobian needs is recorded by hooks in one forward pass (norm scales, queries, keys, values,
attention patterns, pre-activations) and read from the bridge (weights). Nothing is believed: every
weight must reproduce, from what was recorded before it, what was recorded after it, and the model
is refused where one does not. With the operator's linearization,

    norm        dN(x) = w * (I - n n^T / d) (dx - mean dx) / scale   n = normalised x; the mean for
                                         LayerNorm only; the n n^T term only where scales move
    MLP         d out = W_out (gate * W_in dx)   gate = phi'(pre), or phi(pre)/pre under `secant`;
                a gated MLP is the sum over its two branches, under `secant` the one that moves
    attention   head h adds  W_O sum_s A[p, s] W_V dx_s, and where patterns move what its queries
                and keys do to A
"""

from saecircuits.splicing.anatomy.attention import Attention as Attention
from saecircuits.splicing.anatomy.checks import NotCoveredError as NotCoveredError
from saecircuits.splicing.anatomy.mlps import Mlp as Mlp
from saecircuits.splicing.anatomy.norms import Norm as Norm
from saecircuits.splicing.anatomy.run import Anatomy as Anatomy
from saecircuits.splicing.anatomy.run import Block as Block
from saecircuits.splicing.anatomy.run import Unembedding as Unembedding
from saecircuits.splicing.anatomy.run import read_out as read_out
from saecircuits.splicing.anatomy.run import take_apart as take_apart
