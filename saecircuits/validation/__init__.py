"""Validation: ablation on held-out prompts, calibration of scores by intervention, and tests."""

from saecircuits.validation.calibration import calibrate as calibrate
from saecircuits.validation.held_against import Baselines as Baselines
from saecircuits.validation.held_against import baselines as baselines
from saecircuits.validation.report import ValidationReport as ValidationReport
from saecircuits.validation.tested import Hypotheses as Hypotheses
from saecircuits.validation.tested import hypotheses as hypotheses
from saecircuits.validation.validate import validate as validate
