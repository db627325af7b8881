"""The floor that knows transformer_lens and sae_lens; everything above sees tensors and sites."""

from saecircuits.splicing.activations import Activations as Activations
from saecircuits.splicing.building import splice as splice
from saecircuits.splicing.dictionary import Dictionary as Dictionary
from saecircuits.splicing.model import Splice as Splice
from saecircuits.splicing.model import SplicedModel as SplicedModel
from saecircuits.splicing.observation import ErrorPolicy as ErrorPolicy
from saecircuits.splicing.observation import Observation as Observation
from saecircuits.splicing.observation import SiteValues as SiteValues
from saecircuits.splicing.observation import observe as observe
from saecircuits.splicing.operators import Linearization as Linearization
from saecircuits.splicing.operators import Operator as Operator
from saecircuits.splicing.operators import record_operator as record_operator
from saecircuits.splicing.sameness import require_same_model as require_same_model
from saecircuits.splicing.sites import Site as Site
