"""An experiment tried out on two examples, before anything of it is written."""

from __future__ import annotations

import copy

import torch

from reparam._spelling import regarding
from reparam.batches import batches_for
from reparam.data import Data
from reparam.estimators import Estimator
from reparam.experiment import Experiment
from reparam.hierarchy import Hierarchy, Ladder
from reparam.inspection import own_random_numbers
from reparam.model import VAE


def try_out(experiment: Experiment, model: VAE | Hierarchy | Ladder, estimator: Estimator, data: Data) -> None:
    """Refuses a latent, an observation or an estimator that do not go together; uses up no random number.

    Copies of the model and of the estimator, both on the CPU, see the first two examples, so what they learn or
    remember is as it was.

    Raises:
        TypeError, ValueError: the refusal of the estimator or of the model, with the option that it is about.
    """
    model, estimator = copy.deepcopy((model, estimator))
    with own_random_numbers(torch.device("cpu"), seed=0):
        with regarding("observation", experiment.model.observation):
            x = next(iter(batches_for(model, data.part(0, 2), 2)))
        with regarding("estimator", experiment.training.estimator):
            estimator.at(0)(model, x)
