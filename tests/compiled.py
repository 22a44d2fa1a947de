"""Run by test_compile.py in a process of its own, since the run-time check of shapes cannot be traced."""

import hierarchies
import test_continuous
import test_counts
import test_directional
import test_flows
import test_low_rank
import test_pixels
import test_prior_distributions
import torch
from torch import Tensor
from torch.distributions import kl_divergence

import reparam as rp
from reparam.distributions import LogitRelaxedBernoulli, LogRelaxedCategorical


def compiled(function):
    return torch.compile(function, fullgraph=True)  # fullgraph: a graph break is an error


def sample(kind):
    def function(logits: Tensor) -> tuple[Tensor, Tensor]:
        relaxed = kind(0.05, logits, validate_args=False)
        y = relaxed.rsample((3,))
        return y, relaxed.log_prob(y)

    return function


def divergence(kind):
    def function(p: Tensor, q: Tensor) -> Tensor:
        return kl_divergence(kind(0.5, p, validate_args=False), kind(0.5, q, validate_args=False))

    return function


def check_members() -> None:
    """Every distribution under the laws: its density, its gradient and its draws are captured as one graph."""
    for tests in (
        test_continuous,
        test_counts,
        test_directional,
        test_flows,
        test_low_rank,
        test_pixels,
        test_prior_distributions,
    ):
        for member in tests.MEMBERS:
            torch.compiler.reset()
            params = [p.clone().requires_grad_() for p in member.params]
            z = member().sample((4,))
            # the graph alone is the point here; generating code for each would take minutes
            score = torch.compile(lambda z, *p, m=member: m.make(*p).log_prob(z), fullgraph=True, backend="aot_eager")
            found = score(z, *params)
            torch.testing.assert_close(found, member().log_prob(z))
            found.sum().backward()
            if member().has_rsample:
                draw = torch.compile(lambda *p, m=member: m.make(*p).rsample((4,)), fullgraph=True, backend="aot_eager")
                draw(*params).sum().backward()


def check_hierarchies() -> None:
    for make, estimator in (
        (hierarchies.belief_network, rp.RLOO(4)),
        (hierarchies.belief_network, rp.Enumerate()),
        (hierarchies.symbols_over_bits, rp.Relaxed(0.5, kl="relaxed")),
        (hierarchies.gaussian_hierarchy, rp.Pathwise(5, rp.iwae, gradient="dreg")),
    ):
        torch.compiler.reset()
        model, x = make(), torch.rand(5, 6).round()
        loss = torch.compile(lambda x, m=model, e=estimator: e(m, x).loss, fullgraph=True, backend="aot_eager")(x)
        loss.backward()


def main() -> None:
    torch.manual_seed(0)
    check_members()
    check_hierarchies()
    for kind in (LogitRelaxedBernoulli, LogRelaxedCategorical):
        for dtype in (torch.float32, torch.bfloat16):
            logits = torch.randn(6, 4, dtype=dtype, requires_grad=True)
            y, log_prob = compiled(sample(kind))(logits)
            expected = kind(0.05, logits, validate_args=False).log_prob(y)
            torch.testing.assert_close(log_prob, expected, rtol=1e-2, atol=0.1 if dtype == torch.bfloat16 else 1e-3)
            log_prob.sum().backward()
            assert logits.grad.isfinite().all()
        p, q = torch.randn(2, 6, 4)
        eager = divergence(kind)(p, q)
        torch.testing.assert_close(compiled(divergence(kind))(p, q), eager, rtol=1e-4, atol=1e-5)
    for latent, estimator in (
        (rp.Gaussian(3), rp.Pathwise()),
        (rp.Bernoulli(3), rp.Relaxed(0.5, kl="exact")),
        (rp.Categorical(2, 3), rp.Relaxed(0.5, kl="relaxed")),
        (rp.Categorical(2, 3), rp.RLOO(3)),
        (rp.Bernoulli(3), rp.Enumerate()),
        (rp.Bernoulli(3), rp.VIMCO(3)),
        (rp.Bernoulli(3), rp.DisARM()),
        (rp.Categorical(2, 3), rp.GumbelRao(0.5)),
        (rp.Categorical(2, 3), rp.ReinMax()),
    ):
        model = rp.VAE(latent, rp.Bernoulli(6), rp.mlp(6, [4], latent.num_params), rp.mlp(latent.num_features, [4], 6))
        x = torch.rand(5, 6)
        estimator(model, x)  # torch finds the closed form of a KL at its first use, which cannot be traced
        torch.compiler.reset()  # one function is compiled anew for each pair, more often than dynamo expects
        loss = compiled(lambda x, m=model, e=estimator: e(m, x).loss)(x)
        loss.backward()
        assert all(p.grad.isfinite().all() for p in model.parameters())
    for latent in (rp.Gaussian(3), rp.Gamma(3), rp.Gaussian(3, covariance=2)):  # draws rounded to 16 bits are traced
        model = rp.VAE(latent, rp.Gaussian(6), rp.mlp(6, [4], latent.num_params), rp.mlp(3, [4], 12)).bfloat16()
        model.prior()
        torch.compiler.reset()
        loss = torch.compile(
            lambda x, m=model: rp.Pathwise(kl="sampled")(m, x).loss, fullgraph=True, backend="aot_eager"
        )
        loss(torch.rand(5, 6).bfloat16()).backward()
        assert all(p.grad.isfinite().all() for p in model.parameters())
    print("compiled")


if __name__ == "__main__":
    main()
