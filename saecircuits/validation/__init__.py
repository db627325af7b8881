"""Validation: ablation on held-out prompts, calibration of scores by intervention, and tests."""

from saecircuits.validation.baselines import Baselines as Baselines
from saecircuits.validation.baselines import baselines as baselines
from saecircuits.validation.calibration import calibrate as calibrate
from saecircuits.validation.hypotheses import Hypotheses as Hypotheses
from saecircuits.validation.hypotheses import hypotheses as hypotheses
from saecircuits.validation.report import ValidationReport as ValidationReport
from saecircuits.validation.validate import validate as validate
