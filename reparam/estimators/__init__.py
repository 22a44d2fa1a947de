"""Estimators of the gradient of a bound: `(model, x) -> Estimate`, with `loss == -bound.mean()`."""

from reparam.estimators.enumerate import Enumerate as Enumerate
from reparam.estimators.estimate import Estimate as Estimate
from reparam.estimators.estimate import Estimator as Estimator
from reparam.estimators.pathwise import Pathwise as Pathwise
from reparam.estimators.relaxed import Relaxed as Relaxed
from reparam.estimators.score_function import RLOO as RLOO
