"""Sweeping an optimiser's averages: no denormal number stays, and no weight changes by a bit."""

import pytest
import torch
from helpers import weights

import reparam as rp
from reparam.training import trainer
from reparam.training.denormals import sweep

TINY = torch.finfo(torch.float32).tiny


def trained(every, monkeypatch):
    """1200 steps with two pixels that are dark from the second epoch on."""
    monkeypatch.setattr(trainer, "EVERY", every)
    torch.manual_seed(1)
    x = torch.rand(60, 6)
    optimizer = None

    class Darkening:
        passes = 0

        def __iter__(self):
            self.passes += 1
            for batch in x.split(10):
                yield batch if self.passes == 1 else batch * torch.tensor([0, 0, 1, 1, 1, 1.0])

    model = rp.VAE(rp.Gaussian(2), rp.Bernoulli(6), rp.mlp(6, [8], 4), rp.mlp(2, [8], 6))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    rp.fit(model, rp.Pathwise(), Darkening(), epochs=200, optimizer=optimizer)
    return weights(model), torch.cat([state["exp_avg"].flatten() for state in optimizer.state.values()])


def test_no_average_stays_denormal_and_no_weight_changes(monkeypatch):
    swept, averages = trained(100, monkeypatch)
    left, slow = trained(10**9, monkeypatch)
    assert ((slow != 0) & (slow.abs() < TINY)).any()
    assert not ((averages != 0) & (averages.abs() < TINY)).any()
    assert torch.equal(swept, left)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_counts_is_kept(dtype):
    parameter = torch.nn.Parameter(torch.zeros(3, dtype=dtype))
    optimizer = torch.optim.Adam([parameter])
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    kept, swept = (1e-28, 1e-33) if dtype != torch.float64 else (1e-50, 1e-60)
    optimizer.state[parameter]["exp_avg"].copy_(torch.tensor([1.0, -kept, swept], dtype=dtype))
    assert optimizer.state[parameter]["exp_avg"].all()
    steps = optimizer.state[parameter]["step"].clone()
    before = optimizer.state[parameter]["exp_avg"].clone()
    sweep(optimizer)
    assert torch.equal(optimizer.state[parameter]["exp_avg"][:2], before[:2])
    assert optimizer.state[parameter]["exp_avg"][2] == 0
    assert optimizer.state[parameter]["step"] == steps
