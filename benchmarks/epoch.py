"""The library's `fit` against hand-written minimal PyTorch loops of the same work on MNIST.

    python benchmarks/epoch.py            # about 4 minutes on two cores
    python benchmarks/epoch.py --pairs 9

Both sides run in this process, in turn, with the same threads, matrix-product kernels, allocator, optimiser (fused
Adam) and network; the order within a pair alternates. The whole call of `fit` is timed, its checks of the data
included. Printed: median seconds an epoch of each side, and the median of the ratios with their range.
"""

import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn

import reparam as rp

Loss = Callable[[nn.Module, nn.Module, Tensor, int], Tensor]


def gaussian(encoder: nn.Module, decoder: nn.Module, x: Tensor, _: int) -> Tensor:
    loc, log_variance = encoder(x).chunk(2, -1)
    z = loc + (log_variance / 2).exp() * torch.randn_like(loc)
    likelihood = F.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
    loss: Tensor = (likelihood + 0.5 * (log_variance.exp() + loc**2 - 1 - log_variance).sum()) / len(x)
    return loss


def bernoulli(encoder: nn.Module, decoder: nn.Module, x: Tensor, step: int) -> Tensor:
    logits = encoder(x)
    noise = torch.rand_like(logits).clamp(1e-7, 1 - 1e-7)
    z = torch.sigmoid((logits + noise.log() - (1 - noise).log()) / max(0.1, math.exp(-3e-5 * step)))
    likelihood = F.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
    kl = logits.sigmoid() * logits - F.softplus(logits) + math.log(2)
    loss: Tensor = (likelihood + kl.sum()) / len(x)
    return loss


def categorical(encoder: nn.Module, decoder: nn.Module, x: Tensor, step: int) -> Tensor:
    logits = encoder(x).unflatten(-1, (20, 10))
    noise = -torch.empty_like(logits).exponential_().log()
    z = ((logits + noise) / max(0.1, math.exp(-3e-5 * step))).softmax(-1)
    likelihood = F.binary_cross_entropy_with_logits(decoder(z.flatten(1)), x, reduction="sum")
    log_probs = logits.log_softmax(-1)
    loss: Tensor = (likelihood + (log_probs.exp() * (log_probs + math.log(10))).sum()) / len(x)
    return loss


TEMPERATURE = rp.exponential(1.0, 0.1, rate=3e-5)
CASES: dict[str, tuple[rp.Family, rp.Estimator, Loss]] = {
    "gaussian": (rp.Gaussian(20), rp.Pathwise(), gaussian),
    "binconcrete": (rp.Bernoulli(20), rp.Relaxed(TEMPERATURE, kl="exact"), bernoulli),
    "concrete": (rp.Categorical(20, 10), rp.Relaxed(TEMPERATURE, kl="exact"), categorical),
}


def networks(latent: rp.Family) -> tuple[nn.Sequential, nn.Sequential]:
    torch.manual_seed(0)
    return rp.mlp(784, [400], latent.num_params), rp.mlp(latent.num_features, [400], 784)


def by_hand(latent: rp.Family, loss_of: Loss, images: Tensor, epochs: int) -> None:
    """The plain loop."""
    encoder, decoder = networks(latent)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3, fused=True)
    step = 0
    for _ in range(epochs):
        total = torch.zeros(())
        for index in torch.randperm(len(images)).split(128):
            x = images[index]
            loss = loss_of(encoder, decoder, x, step)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(x)
            step += 1
        total.item()


def by_library(latent: rp.Family, estimator: rp.Estimator, data: rp.Data, epochs: int) -> None:
    """The same through `fit`."""
    model = rp.VAE(latent, rp.Bernoulli(784), *networks(latent))
    rp.fit(model, estimator, data, epochs=epochs)


def seconds(run: Callable[[], None]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def compare(case: str, data: rp.Data, pairs: int, epochs: int) -> list[tuple[float, float]]:
    """Seconds an epoch of `fit` and of the loop by hand, for each pair after one to warm up."""
    latent, estimator, loss_of = CASES[case]
    images = data[: len(data)]
    sides = (
        lambda: by_library(latent, estimator, data, epochs),
        lambda: by_hand(latent, loss_of, images, epochs),
    )
    measured = []
    for pair in range(pairs + 1):
        times = {side: seconds(sides[side]) / epochs for side in ((0, 1) if pair % 2 else (1, 0))}
        measured.append((times[0], times[1]))
    return measured[1:]


def main(pairs: int = 7, epochs: int = 2) -> None:
    """Prints a Markdown table.

    Args:
        pairs: Runs of each side, after one pair to warm up.
        epochs: Passes over the 60,000 images in a run.
    """
    data = rp.mnist("grey").train
    print(f"{machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, float32, {pairs} pairs\n")
    print("| example | fit, s/epoch | by hand, s/epoch | fit / by hand | range |\n|---|---|---|---|---|")
    for case in CASES:
        measured = compare(case, data, pairs, epochs)
        ours, theirs = (statistics.median(times) for times in zip(*measured, strict=True))
        ratios = [a / b for a, b in measured]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"| {case} | {ours:.2f} | {theirs:.2f} | {statistics.median(ratios):.2f} | {spread} |", flush=True)


def machine() -> str:
    """The processor's name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown processor"


if __name__ == "__main__":
    tyro.cli(main)
