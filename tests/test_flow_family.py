"""Flow, the family: it begins as its base, integrates to one, is a part of the model, and refuses what is no map."""

import copy
import math
import subprocess
import sys

import pytest
import torch
from flows import KINDS, flow
from helpers import Makes
from hierarchies import randomise
from torch import nn
from torch.distributions import AffineTransform, MultivariateNormal

import reparam as rp
from reparam.families.flow import Flow, import_zuko

zuko = import_zuko()


@pytest.mark.parametrize("kind", KINDS)
def test_densities_integrate_to_one_and_are_those_of_the_draws(kind, float64):
    posterior = flow(kind)(torch.tensor([[0.0, 1.0, 0.0, -1.0], [1.0, -0.5, -2.0, 0.5]]))
    end = {"maf": 20, "nsf": 9}[kind]  # splines keep to [-5, 5]
    side = torch.linspace(-end, end, 321)
    z = torch.cartesian_prod(side, side)[:, None].expand(-1, 2, -1)
    with torch.no_grad():
        density = posterior.log_prob(z).exp() * (side[1] - side[0]) ** 2
        draws = posterior.sample((40_000,))
    assert ((density.sum(0) - 1).abs() < 2e-3).all()  # the network's kinks are not on the grid
    for f in (lambda z: z, lambda z: z[..., :1] * z[..., 1:], lambda z: (z > 0.3).double()):
        expected, samples = (f(z) * density[..., None]).sum(0), f(draws)
        error = samples.std(0) / math.sqrt(len(samples))
        assert ((samples.mean(0) - expected).abs() < 4.5 * error + 5e-3).all()


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_a_flow_begins_as_its_base(kind, size):
    base = rp.Gaussian(size)
    latent = Flow(base, kind)
    params = torch.randn(7, latent.num_params)
    z = 2 * torch.randn(3, 7, size)
    torch.testing.assert_close(latent(params).log_prob(z), base(params).log_prob(z))
    assert len(latent.transforms) == 2
    assert latent.event_shape == (size,)
    assert latent.num_params == 2 * size


def test_layers_alternate_the_order_of_the_variables():
    """Two of them let each variable depend on each other one; a single one does not."""

    def jacobian(latent):
        transforms = [t() for t in latent.transforms]

        def image(u):
            for t in transforms:
                u = t(u)
            return u

        return torch.autograd.functional.jacobian(image, torch.randn(3))

    assert (jacobian(flow("maf", 3, 1)).triu(1) == 0).all()
    assert (jacobian(flow("maf", 3, 2)) != 0).all()


def test_a_flow_is_a_part_of_the_model():
    def build():
        return rp.VAE(Flow(rp.Gaussian(3), "nsf", hidden=[8]), rp.Bernoulli(6), rp.mlp(6, [4], 6), rp.mlp(3, [4], 6))

    model, x = build(), torch.rand(20, 6)
    rp.fit(model, rp.Pathwise(2), x, epochs=2, lr=0.01)
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in model.latent.parameters())
    other = build()
    other.load_state_dict(model.state_dict())
    z = model.posterior(x).sample()
    for twin in (other, copy.deepcopy(model)):
        torch.testing.assert_close(twin.posterior(x).log_prob(z), model.posterior(x).log_prob(z))
    assert model.double().posterior(x.double()).sample().dtype == torch.float64
    assert "Flow(Gaussian(shape=3))" in f"{model.latent!s}"
    nowhere = model.to("meta")
    estimate = rp.Pathwise(2, rp.iwae)(nowhere, torch.rand(5, 6, device="meta", dtype=torch.float64))
    estimate.loss.backward()
    assert estimate.bound.device.type == "meta"


def test_a_transform_of_ones_own_and_one_of_zuko_serve_as_well(float64):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.log_scale = nn.Parameter(torch.tensor(0.3))

        def forward(self):
            return AffineTransform(1.0, self.log_scale.exp())

    latent = Flow(rp.Gaussian(2), Scaled())
    z = torch.randn(5, 2)
    scale = math.exp(0.3)
    torch.testing.assert_close(
        latent(torch.zeros(4)).log_prob(z), MultivariateNormal(torch.ones(2), scale**2 * torch.eye(2)).log_prob(z)
    )
    latent = Flow(rp.Gaussian(2), randomise(zuko.flows.NSF(2, transforms=2, hidden_features=[8]), 0.4).transform)
    posterior = latent(torch.randn(3, 4))
    z = posterior.rsample((6,))
    torch.testing.assert_close(posterior.log_prob(z), posterior.log_prob(z.clone()))
    nested = Flow(Flow(rp.Gaussian(2), Scaled()), Scaled())
    assert nested(torch.zeros(4)).sample((3,)).shape == (3, 2)


def test_flows_of_many_numbers_stay_finite():
    for kind in KINDS:
        latent = flow(kind, 20)
        params = torch.cat([10 * torch.randn(64, 20), 4 * torch.randn(64, 20)], -1).requires_grad_()
        posterior = latent(params)
        z = posterior.rsample((8,))
        log_prob = posterior.log_prob(z)
        (gradient,) = torch.autograd.grad(log_prob.sum() + z.sum(), params)
        assert log_prob.isfinite().all()
        assert gradient.isfinite().all()


# refusals


REFUSED = [
    (lambda: Flow(20, "maf"), TypeError, "base is 20; it must be a family"),
    (lambda: Flow(rp.Bernoulli(3), "maf"), TypeError, r"base is Bernoulli\(shape=3\), whose draws are not real numbers .*AutoregressivePrior"),
    (lambda: Flow(rp.TorchFamily(torch.distributions.Gamma, 3), "maf"), TypeError, "whose draws are not real numbers"),
    (lambda: Flow(rp.Gaussian(3), "iaf"), ValueError, "transform is 'iaf'; it must be one of 'maf', 'nsf'"),
    (lambda: Flow(rp.Gaussian((1, 4, 4)), "maf"), ValueError, r'draws of shape \(1, 4, 4\); "maf" takes one axis. Give the family the shape 16'),
    (lambda: Flow(rp.Gaussian(3), "maf", num_transforms=0), ValueError, "num_transforms is 0; it must be at least 1"),
    (lambda: Flow(rp.Gaussian(3), "maf", hidden=[2.5]), TypeError, "a hidden width is 2.5"),
    (lambda: Flow(rp.Gaussian(3), zuko.flows.MAF(3)), TypeError, r"makes a NormalizingFlow; it must make a torch Transform.*zuko.flows.MAF\(20\).transform"),
    (lambda: Flow(rp.Gaussian(3), zuko.flows.MAF(3).transform, hidden=[8]), TypeError, 'are for "maf" and "nsf"'),
    (lambda: Flow(rp.Gaussian(3), zuko.flows.MAF(4).transform), ValueError, r"cannot take a draw of Gaussian\(shape=3\), of shape \(3,\): mat1"),
    (lambda: Flow(rp.Gaussian(3), nn.Linear(3, 3)), TypeError, r"whose forward\(\) cannot be called without arguments"),
    (lambda: Flow(rp.Gaussian(3), Makes(torch.distributions.StickBreakingTransform())), ValueError, r"makes \(4,\) of a draw .* keep the shape"),
    (lambda: Flow(rp.Gaussian(3), Makes(AffineTransform(0.0, 1.0, event_dim=2))), ValueError, "event axes"),
]  # fmt: skip


@pytest.mark.parametrize(("act", "kind", "message"), REFUSED, ids=[m[:40] for _, _, m in REFUSED])
def test_refusals(act, kind, message):
    with pytest.raises(kind, match=message):
        act()


def test_without_zuko_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "zuko", None)
    with pytest.raises(ImportError, match=r"zuko, which is not installed: pip install reparam\[flows\]"):
        Flow(rp.Gaussian(3), "maf")


SWITCH = """
from torch.distributions import Distribution
import reparam
from reparam.families.flow import Flow
before = Distribution._validate_args
Flow(reparam.Gaussian(3), "maf")
print(before, Distribution._validate_args)
"""


def test_using_a_flow_leaves_the_validation_of_torch_as_it_was():
    """The import of zuko switches it off for every distribution of the process."""
    done = subprocess.run([sys.executable, "-c", SWITCH], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]
