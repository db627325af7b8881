"""Validation: ablation on held-out prompts, calibration of scores by intervention, and tests."""

from saecircuits.validation.baselines import Baselines as Baselines
from saecircuits.validation.baselines import baselines as baselines
from saecircuits.validation.baselines import check_kinds as check_kinds
from saecircuits.validation.calibration import calibrate as calibrate
from saecircuits.validation.hypotheses import Hypotheses as Hypotheses
from saecircuits.validation.hypotheses import check_tests as check_tests
from saecircuits.validation.hypotheses import hypotheses as hypotheses
from saecircuits.validation.report import ValidationReport as ValidationReport
from saecircuits.validation.validate import check_ways as check_ways
from saecircuits.validation.validate import validate as validate
