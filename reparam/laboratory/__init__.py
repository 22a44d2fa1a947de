"""The gradient-estimator laboratory."""

from reparam.laboratory.lab import lab as lab
from reparam.laboratory.report import Finding as Finding
from reparam.laboratory.report import Lab as Lab
