"""The floor that knows transformer_lens and sae_lens; everything above sees tensors and sites."""

from saecircuits.splice.dictionary import Dictionary as Dictionary
from saecircuits.splice.model import Splice as Splice
from saecircuits.splice.model import SplicedModel as SplicedModel
from saecircuits.splice.model import splice as splice
from saecircuits.splice.observation import ErrorPolicy as ErrorPolicy
from saecircuits.splice.observation import Observation as Observation
from saecircuits.splice.observation import SiteValues as SiteValues
from saecircuits.splice.observation import observe as observe
from saecircuits.splice.operators import Linearization as Linearization
from saecircuits.splice.operators import Operator as Operator
from saecircuits.splice.operators import record_operator as record_operator
from saecircuits.splice.sites import Site as Site
