"""Run by test_precision.py: trainings with `compile=True`, their graphs counted."""

import json

import torch
from torch._dynamo.utils import counters

import reparam as rp
from reparam.training.step import StepModule


def trained(estimator, number, compile):
    torch.manual_seed(0)
    latent = rp.Gaussian(3) if isinstance(estimator, rp.Pathwise) else rp.Bernoulli(3)
    model = rp.VAE(latent, rp.Bernoulli(6), rp.mlp(6, [4], latent.num_params), rp.mlp(3, [4], 6))
    data = torch.rand(number, 6, generator=torch.Generator().manual_seed(0)).round()
    return rp.fit(model, estimator, data, epochs=2, batch_size=8, compile=compile)[-1].loss


class Captured:
    """The step as one graph in torch's own operations: what is counted here, without code generated for each."""

    def compile(self):
        torch.nn.Module.compile(self, backend="aot_eager")


def main():
    temperature = rp.geometric(1.0, 0.3, 50)
    graphs, losses, breaks = {}, {}, 0
    for estimator, number in (
        (rp.Pathwise(), 40),  # by the real compiler, for batches of one size
        (rp.Relaxed(temperature), 85),  # for the first temperature, for any, for the last batch
        (rp.RLOO(2), 85),
    ):
        torch.compiler.reset()
        counters.clear()
        name = type(estimator).__name__
        if name != "Pathwise":
            StepModule.compile = Captured.compile
        compiled = trained(estimator, number, True)  # first, when nothing has been looked up yet
        graphs[name] = counters["stats"]["unique_graphs"]
        breaks += sum(counters["graph_break"].values())
        losses[name] = trained(estimator, number, False), compiled
    print(json.dumps({"graphs": graphs, "losses": losses, "breaks": breaks, "diverged": diverged()}))


def diverged():
    """Whether a compiled training whose third step ruins the weights ends with those that it began with."""
    model = rp.VAE(rp.Gaussian(3), rp.Bernoulli(6), rp.mlp(6, [4], 6), rp.mlp(3, [4], 6))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    try:
        options = {"epochs": 1, "batch_size": 8, "lr": lambda step: 1e30 if step > 1 else 1e-3, "compile": True}
        rp.fit(model, rp.RLOO(2), torch.rand(40, 6), **options)
    except rp.TrainingDiverged:
        return all(torch.equal(p, value) for p, value in zip(model.parameters(), before, strict=True))
    return False


if __name__ == "__main__":
    main()
