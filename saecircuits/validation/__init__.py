"""Validation: ablation on held-out prompts, and calibration of scores by intervention."""

from saecircuits.validation.calibration import calibrate as calibrate
from saecircuits.validation.report import ValidationReport as ValidationReport
from saecircuits.validation.validate import validate as validate
