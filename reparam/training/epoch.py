"""What is known of a finished epoch."""

from __future__ import annotations

from dataclasses import dataclass

from reparam.estimators import Estimator


@dataclass(frozen=True)
class Epoch:
    """One finished pass over the training data.

    Attributes:
        number: counted from 1.
        loss: mean over the examples of the loss at the time each was visited, in nats.
        name: what the loss is the negative of: "elbo", "surrogate", ...
        steps: optimiser steps since the beginning of the fit.
        seconds: this pass took, without validation and `on_epoch`.
        estimator: with its schedules as they stand now; `estimator.in_use()` has the temperature, learned ones too.
    """

    number: int
    loss: float
    name: str
    steps: int
    seconds: float
    estimator: Estimator
