"""Loops written by hand in plain PyTorch, with its default settings; the tuned variant fuses Adam and reads no loss."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.distributions as td
import torch.nn.functional as F
from torch import Tensor, nn

from sides import Case, Images, Report

Losses = tuple[Tensor, Tensor]  # what has the gradient, and what is reported: nats, summed over the batch
LossOf = Callable[[nn.Module, nn.Module, Tensor, int], Losses]


def mlp(widths: Sequence[int], activation: str) -> nn.Sequential:
    between = {"relu": nn.ReLU, "tanh": nn.Tanh}[activation]
    layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), between())]
    return nn.Sequential(*layers[:-1])


def gaussian(encoder: nn.Module, decoder: nn.Module, x: Tensor, _: int) -> Losses:
    loc, log_variance = encoder(x).chunk(2, -1)
    z = loc + (log_variance / 2).exp() * torch.randn_like(loc)
    likelihood = F.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
    loss = likelihood + 0.5 * (log_variance.exp() + loc**2 - 1 - log_variance).sum()
    return loss, loss


def iwae(encoder: nn.Module, decoder: nn.Module, x: Tensor, _: int) -> Losses:
    num_samples = 50
    loc, log_variance = encoder(x).chunk(2, -1)
    posterior = td.Normal(loc, (log_variance / 2).exp())
    z = posterior.rsample((num_samples,))
    log_likelihood = -cross_entropy(decoder(z), x)
    log_weight = log_likelihood + (td.Normal(0.0, 1.0).log_prob(z) - posterior.log_prob(z)).sum(-1)
    loss = -(log_weight.logsumexp(0) - math.log(num_samples)).sum()
    return loss, loss


def rloo(encoder: nn.Module, decoder: nn.Module, x: Tensor, _: int) -> Losses:
    num_samples = 4
    posterior = td.OneHotCategorical(logits=encoder(x).unflatten(-1, (20, 10)))
    z = posterior.sample((num_samples,))
    log_q = posterior.log_prob(z).sum(-1)
    log_likelihood = -cross_entropy(decoder(z.flatten(2)), x)
    log_weight = (log_likelihood - 20 * math.log(10) - log_q).detach()
    baseline = (log_weight.sum(0) - log_weight) / (num_samples - 1)
    objective = (log_likelihood + (log_weight - baseline) * log_q).mean(0)
    return -objective.sum(), -log_weight.mean(0).sum()


def cross_entropy(logits: Tensor, x: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)


def binconcrete(encoder: nn.Module, decoder: nn.Module, x: Tensor, step: int) -> Losses:
    logits = encoder(x)
    noise = torch.rand_like(logits).clamp(1e-7, 1 - 1e-7)
    z = torch.sigmoid((logits + noise.log() - (1 - noise).log()) / max(0.1, math.exp(-3e-5 * step)))
    likelihood = F.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
    loss = likelihood + (logits.sigmoid() * logits - F.softplus(logits) + math.log(2)).sum()
    return loss, loss


def concrete(encoder: nn.Module, decoder: nn.Module, x: Tensor, step: int) -> Losses:
    logits = encoder(x).unflatten(-1, (20, 10))
    noise = -torch.empty_like(logits).exponential_().log()
    z = ((logits + noise) / max(0.1, math.exp(-3e-5 * step))).softmax(-1)
    likelihood = F.binary_cross_entropy_with_logits(decoder(z.flatten(1)), x, reduction="sum")
    log_probs = logits.log_softmax(-1)
    loss = likelihood + (log_probs.exp() * (log_probs + math.log(10))).sum()
    return loss, loss


LOSSES: dict[str, LossOf] = {
    "gaussian": gaussian,
    "iwae-20": iwae,
    "iwae-128": iwae,
    "rloo": rloo,
    "binconcrete": binconcrete,
    "concrete": concrete,
}


def train(case: Case, variant: str, images: Images, epochs: int, report: Report) -> None:
    torch.manual_seed(0)
    tuned = variant == "tuned"
    loss_of = LOSSES[case.name]
    encoder, decoder = mlp(case.encoder_widths, case.activation), mlp(case.decoder_widths, case.activation)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3, fused=True if tuned else None)
    data = torch.from_numpy(images).float() / 255
    step = 0
    for _ in range(epochs):
        total = torch.zeros(()) if tuned else 0.0
        for index in torch.randperm(len(data)).split(case.batch_size):
            loss, reported = loss_of(encoder, decoder, data[index], step)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total = total + (reported.detach() if tuned else reported.item())
            step += 1
        report(float(total) / len(data))
