"""Attention heads in the feature basis: what makes a head look there, and what it moves.

The classical terms of "A Mathematical Framework for Transformer Circuits" (Elhage et al. 2021),
between features of sparse dictionaries and, where a model is small enough, between tokens:

    attention         scores as exact sums over pairs of features (or of components)
    ov, qk, moved     a head's circuits between features, and what they do at a prompt
    composition       Q-, K- and V-composition, and the same through the features in use
    direct_path, skip_trigrams, virtual_head            tables over tokens
    behaviours        previous-token, induction and other scores of every head
    path_effects      what a head does to another through its queries, keys and values
"""

from saecircuits.heads.behaviours import behaviours as behaviours
from saecircuits.heads.behaviours import repeated_tokens as repeated_tokens
from saecircuits.heads.circuits import ov as ov
from saecircuits.heads.circuits import qk as qk
from saecircuits.heads.composing import carriers as carriers
from saecircuits.heads.composing import composition as composition
from saecircuits.heads.moving import moved as moved
from saecircuits.heads.paths import path_effects as path_effects
from saecircuits.heads.scores import HeadScores as HeadScores
from saecircuits.heads.scores import Question as Question
from saecircuits.heads.scores import attention as attention
from saecircuits.heads.scores import scores_of_head as scores_of_head
from saecircuits.heads.tables import direct_path as direct_path
from saecircuits.heads.tables import skip_trigrams as skip_trigrams
from saecircuits.heads.tables import virtual_head as virtual_head
