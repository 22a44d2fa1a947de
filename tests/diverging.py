"""Small trainings that are broken at one moment, and what has to be left of them."""

import json
import math

import torch
from helpers import weights

import reparam as rp

STEPS = 5  # an epoch, of 40 examples in batches of 8
MOMENTS = {"first step": 0, "last step of an epoch": STEPS - 1, "middle": STEPS + 2, "last of all": 2 * STEPS - 1}
VALUES = {"NaN": math.nan, "Inf": math.inf}


def vae(latent, observation=None):
    """Rectified networks, in which weights of 1e30 overflow."""
    observation = observation or rp.Gaussian(6)
    width = observation.event_shape.numel()
    encoder = rp.mlp(width, [5], latent.num_params)
    return rp.VAE(latent, observation, encoder, rp.mlp(latent.num_features, [5], observation.num_params))


def examples(number=40):
    return torch.rand(number, 6, generator=torch.Generator().manual_seed(0))


class Writing(torch.optim.Adam):
    """Adam that writes a value into a weight after one of its steps, counted from 0."""

    def __init__(self, model, step, value):
        super().__init__(model.parameters())
        self.left, self.value = step, value
        self.target = next(model.parameters())

    def step(self, closure=None):
        super().step()
        if self.left == 0:
            with torch.no_grad():
                self.target.view(-1)[0] = self.value
        self.left -= 1


def broken(model, how, step):
    """Options of `fit` by which the update of this step ruins the weights."""
    if how == "lr":
        return {"lr": lambda now: 1e30 if now >= step else 1e-3}
    return {"optimizer": Writing(model, step, VALUES[how])}


def starts_of_epochs(model, on_epoch=None):
    """The weights at the beginning of each epoch, and the function for `fit` that notes them."""
    starts = [weights(model).clone()]

    def note(epoch):
        if on_epoch is not None:
            on_epoch(epoch)
        starts.append(weights(model).clone())

    return starts, note


def strict(folder):
    """Reads every JSON file of a run as a parser does that knows JSON alone."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    read = {}
    for path in sorted(folder.glob("*.json*")):
        text = path.read_text()
        texts = text.splitlines() if path.suffix == ".jsonl" else [text]
        read[path.name] = [json.loads(each, parse_constant=refuse) for each in texts]
    return read


def write_nan(model):
    with torch.no_grad():
        model.decoder[0].weight[0, 0] = math.nan


def write_large(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1e30)
