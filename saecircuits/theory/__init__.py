"""Exact statements about transformers as pure functions: no model is known here.

Path expansion takes maps of the residual stream.

A model is a sequence of *steps*. A step holds the components that read the same stream: one of
them, or an attention layer's heads, or both sublayers of a parallel block. Step i reads r_i, and

    x_0 = source,   r_{i+1} = r_i + sum of F_c(r_i) over the components c of step i

Three expansions of what leaves the last step, T:

    spectrum    F_c affine (a frozen operator): exact, by degree (`spectrum.py`)
    naive       sum over chains F_j(F_i(x_0)): no decomposition unless F_c is linear (`naive.py`)
    tree        one path at a time by intervention, and what is left over (`tree.py`)
"""

from saecircuits.theory.affine import AffineComponent as AffineComponent
from saecircuits.theory.affine import Step as Step
from saecircuits.theory.chains import Level as Level
from saecircuits.theory.chains import chains as chains
from saecircuits.theory.factorized import reads as reads
from saecircuits.theory.factorized import shares_of_reads as shares_of_reads
from saecircuits.theory.naive import NaiveExpansion as NaiveExpansion
from saecircuits.theory.naive import naive_expansion as naive_expansion
from saecircuits.theory.shapley import in_order as in_order
from saecircuits.theory.shapley import shapley as shapley
from saecircuits.theory.spectrum import all_paths as all_paths
from saecircuits.theory.spectrum import degree_spectrum as degree_spectrum
from saecircuits.theory.spectrum import partial_sum_errors as partial_sum_errors
from saecircuits.theory.spectrum import paths_by_degree as paths_by_degree
from saecircuits.theory.spectrum import through as through
from saecircuits.theory.tree import path_changes as path_changes
from saecircuits.theory.tree import total_change as total_change
