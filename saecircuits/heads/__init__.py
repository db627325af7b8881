"""Attention heads in the feature basis: what makes a head look there, and what it moves.

The classical terms of "A Mathematical Framework for Transformer Circuits" (Elhage et al. 2021),
between features of sparse dictionaries and, where a model is small enough, between tokens:

    attention         scores as exact sums over pairs of features (or of components)
    ov, qk, moved     a head's circuits between features: virtual weights, and what they do at a prompt
    composition       Q-, K- and V-composition, and the same through the features in use
    direct_path, skip_trigrams, virtual_head            tables over tokens
    behaviours        previous-token, induction and other scores of every head
    path_effects      what a head does to another through its queries, keys and values
"""

from saecircuits.heads.scores import HeadScores as HeadScores
from saecircuits.heads.scores import attention as attention
