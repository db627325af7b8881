"""A run expanded: the exact expansion of the frozen operator, and the other views beside it.

1. `affine.py` reads a run's components off its anatomy as affine maps.
2. `expand.py` takes their degree spectrum, and reports the naive sum and the factorized view.
3. `readouts.py` reads logits, the metric and features off the spectrum, degree by degree.
4. `remainder.py` splits what the tangent operator leaves out among softmax, norms and activations.
5. `metric_degrees.py` reads a task's metric off the spectra of its prompts.
6. `treeify.py` measures paths one at a time by intervention.
"""

from saecircuits.expansion.affine import AffineRun as AffineRun
from saecircuits.expansion.affine import affine_run as affine_run
from saecircuits.expansion.expand import Expansion as Expansion
from saecircuits.expansion.expand import expand as expand
from saecircuits.expansion.metric_degrees import MetricDegrees as MetricDegrees
from saecircuits.expansion.metric_degrees import metric_degrees as metric_degrees
from saecircuits.expansion.readouts import Readout as Readout
from saecircuits.expansion.remainder import Remainder as Remainder
from saecircuits.expansion.treeify import PathEffects as PathEffects
from saecircuits.expansion.treeify import Tree as Tree
from saecircuits.expansion.treeify import treeify as treeify
