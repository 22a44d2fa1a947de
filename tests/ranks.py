"""Trainings by several processes, for test_distributed.py; run as a script, one started by Fabric, torchrun or SLURM.

A test calls `processes.ranks(2, function, ...)`, which runs `function(fabric, ...)` in two processes.
"""

import json
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch._dynamo  # imported by the first optimiser; here once, for all processes that are forked from this one
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import reparam as rp
from reparam import evaluation, runs
from reparam._ranks import shared_out
from reparam.training.session import state_of

# the same noise for an example, whichever process has it


class Noise(TorchDispatchMode):
    """Random numbers that depend on the step, the number of the call and the row of the whole batch alone."""

    def __init__(self, step, begin, end, rows):
        super().__init__()
        self.step, self.begin, self.end, self.rows = step, begin, end, rows
        self.calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return made
        name = func.overloadpacket.__name__.rstrip("_")
        draw = {"rand": torch.rand, "rand_like": torch.rand, "uniform": torch.rand}
        draw |= {"randn": torch.randn, "randn_like": torch.randn, "normal": torch.randn}
        generator = torch.Generator().manual_seed(1000 * self.step + self.calls)
        self.calls += 1
        assert made.shape[-2] == self.end - self.begin
        shape = (*made.shape[:-2], self.rows, made.shape[-1])
        return made.copy_(draw[name](shape, generator=generator, dtype=made.dtype)[..., self.begin : self.end, :])


class Fixed(nn.Module):
    """An estimator whose noise is a function of the example."""

    def __init__(self, inner, data, batch_size, rank, world):
        super().__init__()
        self.inner, self.rank, self.world, self.step = inner, rank, world, 0
        self.batches = rp.Data(data).batches(batch_size, shuffle=True)

    def at(self, step):
        self.step = step
        return self

    def forward(self, model, x):
        rows = self.batches.rows(self.step % len(self.batches))
        share = rows * self.rank // self.world, rows * (self.rank + 1) // self.world
        with torch.random.fork_rng(), Noise(self.step, *share, rows):  # the order of an epoch depends on none of it
            return self.inner(model, x)


def small_vae(latent, width=36):
    return rp.VAE(latent, rp.Bernoulli(width), rp.mlp(width, [8], latent.num_params), rp.mlp(5, [8], width))


def trained_with_fixed_noise(fabric, name, folder):
    """Metrics, and weights after six steps, of seven examples or the three that are left; SGD, so that they show the gradient."""
    rank, world = (fabric.global_rank, fabric.world_size) if fabric else (0, 1)
    torch.manual_seed(5)
    latent = rp.Gaussian(5) if name == "pathwise" else rp.Bernoulli(5)
    model = small_vae(latent).double()
    estimators = {
        "pathwise": rp.Pathwise(),
        "nvil": rp.NVIL(rp.mlp(36, [4], 1)),
        "relax": rp.RELAX(rp.mlp(41, [4], 1, nn.Tanh)),
        "average": rp.REINFORCE(),
    }
    data = torch.rand(24, 36, dtype=torch.float64)
    estimator = Fixed(estimators[name].double() if name != "pathwise" else rp.Pathwise(), data, 7, rank, world)
    if rank:
        torch.manual_seed(99)  # the order is the first rank's
        for part in (model, estimator):
            for parameter in part.parameters():
                nn.init.ones_(parameter)  # so are the weights
    sgd = torch.optim.SGD(model.parameters(), lr=0.01)
    run = rp.Run(folder, log_every=1)
    rp.fit(model, estimator, data, epochs=2, batch_size=7, optimizer=sgd, clip=1.0, run=run, fabric=fabric)
    return numbers(metrics(folder)), plain({**state_of(model), **state_of(estimator)})


def metrics(folder):
    """Every line, without what a clock says."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("images_per_second", "seconds")} for line in lines]


def numbers(lines):
    return [value for line in lines for _, value in sorted(line.items()) if isinstance(value, float)]


def plain(state):
    """Tensors as lists, which pass a pipe to the last digit."""
    return {name: tensor.double().flatten().tolist() for name, tensor in state.items()}


# ordinary trainings


def images(number, seed=0):
    return (torch.rand(number, 36, generator=torch.Generator().manual_seed(seed)) ** 3).round()


def loss_curve(fabric, seed=0):
    """Losses of five epochs, the weights, and the random numbers that would come next."""
    torch.manual_seed(seed)
    model = small_vae(rp.Gaussian(5))
    epochs = rp.fit(model, rp.Pathwise(), images(250), epochs=5, batch_size=32, lr=1e-2, fabric=fabric)
    weights = plain(model.state_dict())
    return [each.loss for each in epochs], weights, torch.rand(3).tolist()


def evaluated(fabric, number=37, poison=None):
    torch.manual_seed(3)
    model, data = small_vae(rp.Gaussian(5)), images(number)
    if poison is not None:
        data = [torch.full_like(x, math.nan) if index == poison else x for index, x in enumerate(data.split(8))]
    found = rp.evaluate(model, data, num_samples=200, batch_size=8, fabric=fabric)
    same = [rp.evaluate(model, data[:1].expand(rows, -1), batch_size=8, fabric=fabric).elbo.value for rows in (8, 16)]
    assert same[0] != same[1]  # no batch has the noise of another
    return [found.elbo.value, found.elbo.standard_error, found.elbo.monte_carlo_error, found.num_examples]


def validated(fabric):
    """How many of the three batches of validation data this process measured."""
    counted, measure = [], evaluation._measured
    evaluation._measured = lambda *arguments: counted.append(1) or measure(*arguments)
    validation = rp.Validation(images(300), num_samples=1)
    rp.fit(small_vae(rp.Gaussian(5)), rp.Pathwise(), images(40), epochs=1, validation=validation, fabric=fabric)
    return len(counted)


def shared(fabric):
    """The squares of five numbers; then with an error of one process alone."""

    def work(number, item):
        if item is None:
            raise ValueError("no number")
        return item**2

    assert shared_out(fabric, [3, 4, 5, 6, 7], work) == [9, 16, 25, 36, 49]
    return shared_out(fabric, [3, 4, 5, None, 7], work)


def trained_run(fabric, folder, options=None, epochs=3, on_step=None):
    """With everything that has a state: bits drawn afresh, two stages, a baseline that learns, batch norm, validation."""
    torch.manual_seed(1)
    data, apart = (
        rp.Data(torch.rand(203, 36, generator=torch.Generator().manual_seed(0)) ** 3, "dynamic"),
        images(30, 1),
    )
    latent = rp.Bernoulli(5)
    encoder = nn.Sequential(nn.Linear(36, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5))
    model = rp.VAE(latent, rp.Bernoulli(36), encoder, rp.mlp(5, [8], 36))
    stages = rp.Stages((0, rp.Relaxed(rp.geometric(1.0, 0.5, 60))), (11, rp.NVIL(rp.mlp(36, [4], 1))))
    estimator = stages if on_step is None else Watched(stages, fabric, on_step)
    run = rp.Run(folder, **{"resume": True, "log_every": 5, "checkpoint_seconds": 0, **(options or {})})
    validation = rp.Validation(apart, num_samples=2)
    epochs = rp.fit(
        model, estimator, data, epochs=epochs, batch_size=16, lr=1e-2, run=run, validation=validation, fabric=fabric
    )
    return [each.loss for each in epochs], plain({**state_of(model), **state_of(stages)})


class Watched(nn.Module):
    """An estimator that does something at a step: (step, rank, what)."""

    def __init__(self, inner, fabric, on_step):
        super().__init__()
        self.inner, self.fabric, self.on_step, self.step = inner, fabric, on_step, 0

    def at(self, step):
        self.step = step
        return self

    def forward(self, model, x):
        estimate = self.inner.at(self.step)(model, x)
        step, rank, what = self.on_step
        if self.step == step and rank == self.fabric.global_rank:
            if what == "nan":
                return type(estimate)(
                    estimate.loss * math.nan, estimate.bound * math.nan, "elbo", estimate.control_loss
                )
            os.kill(os.getpid(), what)
        return estimate


@dataclass(frozen=True)
class Seen:
    """An estimator that notes what it is shown: the first pixel, a number of the example."""

    numbers: list

    def at(self, step):
        return self

    def __call__(self, model, x):
        self.numbers.extend(x[:, 0].mul(100).round().int().tolist())
        return rp.Pathwise()(model, x)


def trained_on_loader(fabric, distributed):
    """What each process saw in each of two epochs."""
    torch.manual_seed(0)
    x = torch.rand(40, 36)
    x[:, 0] = torch.arange(40) / 100
    items = TensorDataset(x)
    loader = DataLoader(items, 5, sampler=DistributedSampler(items) if distributed else None)
    seen, model = [], small_vae(rp.Gaussian(5))
    rp.fit(model, Seen(seen), loader, epochs=2, fabric=fabric)
    with pytest.raises(ValueError, match="evaluate shares the batches out itself"):
        rp.evaluate(model, loader, fabric=fabric)
    return seen


def experiment(data):
    options = {"latent": "Gaussian(5)", "hidden": (8,), "data": data, "validation": 40, "epochs": 2, "batch_size": 22}
    return rp.Experiment().replace(**options, accelerator="cpu", devices=2, strategy="ddp", final_samples=4)


if __name__ == "__main__":
    folder, data = sys.argv[1:]
    chosen = experiment(data)
    found = runs.launch_of(chosen)
    summary = runs.train(chosen, rp.Run(folder, pictures=False), fabric=found)
    kind, number = type(found.strategy.cluster_environment).__name__, summary["test"]["num_examples"]
    Path(folder).with_name(f"rank_{found.global_rank}.json").write_text(json.dumps([kind, number]))
