"""Adam without torch.optim around it: the same bits."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

import reparam as rp
from reparam.adam import FusedAdam, adam_for


def trained(make, steps=60, saved_at=None, absent=False):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3))
    unused = nn.Parameter(torch.ones(2))
    optimizer = make([*model.parameters(), unused])
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 1e-2 / (1 + step)
        for parameter in [*model.parameters(), unused]:
            parameter.grad = None
        loss = model(torch.randn(4, 7)).square().sum()
        (loss + unused.sum() if absent and step > 5 else loss).backward()
        optimizer.step()
        if step == saved_at:
            state = copy.deepcopy(optimizer.state_dict())
            optimizer = make([*model.parameters(), unused])
            optimizer.load_state_dict(state)
    return torch.cat([p.detach().flatten() for p in [*model.parameters(), unused]])


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_its_steps_are_torchs_to_the_last_bit(decoupled, weight_decay):
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    options = {"eps": 1e-6, "weight_decay": weight_decay}
    theirs = trained(lambda p: kind(p, lr=1e-2, fused=True, **options), absent=True)
    ours = trained(lambda p: FusedAdam(p, 1e-2, decoupled=decoupled, **options), absent=True)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("decoupled", [False, True])
def test_it_goes_on_from_its_own_state_and_from_torchs(decoupled):
    kind, options = torch.optim.AdamW if decoupled else torch.optim.Adam, {"weight_decay": 0.1}
    whole = trained(lambda p: FusedAdam(p, 1e-2, decoupled=decoupled, **options))
    assert torch.equal(trained(lambda p: FusedAdam(p, 1e-2, decoupled=decoupled, **options), saved_at=20), whole)
    kinds = [
        lambda p: kind(p, lr=1e-2, fused=True, **options),
        lambda p: FusedAdam(p, 1e-2, decoupled=decoupled, **options),
    ]
    for order in (kinds, kinds[::-1]):
        made = iter(order)

        def make(parameters, made=made):
            return next(made)(parameters)

        assert torch.equal(trained(make, saved_at=20), whole)


def test_a_state_of_other_parameters_is_refused():
    state = FusedAdam([torch.zeros(1), torch.zeros(1)], 1e-3).state_dict()
    with pytest.raises(ValueError, match=r"of groups of \[2\] parameters, and there is one of 1"):
        FusedAdam([torch.zeros(1)], 1e-3).load_state_dict(state)


def test_it_is_taken_on_a_cpu_alone():
    real = nn.Parameter(torch.zeros(2))
    assert isinstance(adam_for([real], 1e-3), FusedAdam)
    assert isinstance(adam_for([real], 1e-3, device=torch.device("meta")), torch.optim.Adam)
    assert isinstance(adam_for([nn.Parameter(torch.zeros(2, device="meta"))], 1e-3), torch.optim.Adam)
    assert isinstance(adam_for([nn.Parameter(torch.zeros(2, dtype=torch.complex64))], 1e-3), torch.optim.Adam)
    assert isinstance(adam_for([real], 1e-3, device=torch.device("meta"), decoupled=True), torch.optim.AdamW)


def test_a_training_does_not_import_the_compiler():
    code = (
        "import sys, torch, reparam as rp; latent = rp.Gaussian(2);"
        "model = rp.VAE(latent, rp.Bernoulli(6), rp.mlp(6, [8], 4), rp.mlp(2, [8], 6));"
        "rp.fit(model, rp.Pathwise(), torch.rand(40, 6), epochs=2); rp.evaluate(model, torch.rand(9, 6));"
        "print('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "False\n"


def test_fit_takes_one_that_was_made_outside():
    model = rp.VAE(rp.Gaussian(2), rp.Bernoulli(6), rp.mlp(6, [8], 4), rp.mlp(2, [8], 6))
    before = model.decoder[0].weight.detach().clone()
    parameters = list(model.decoder.parameters())
    rp.fit(model, rp.Pathwise(), torch.rand(40, 6), epochs=1, optimizer=FusedAdam(parameters, 1e-3))
    assert not torch.equal(model.decoder[0].weight, before)


def test_weights_with_gaps_between_them_are_not_given_to_the_kernel():
    """It goes by address: a quarter of a larger tensor would be stepped together with what lies beside it."""
    whole = torch.zeros(8, 8)
    part = nn.Parameter(whole[:, :2])
    optimizer = adam_for([part], 1e-1)
    assert isinstance(optimizer, torch.optim.Adam)
    part.grad = torch.ones(8, 2)
    optimizer.step()
    assert part.detach().flatten().tolist() == pytest.approx([-0.1] * 16)
    assert not whole[:, 2:].any()
