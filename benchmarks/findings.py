"""What was measured, in Markdown and in sentences."""

import math
from statistics import median

from race import Measured, ratios
from sides import OURS, PRODUCTS, Case

ASLEEP = 0.02  # of a core


def epochs_table(results: dict[str, Measured], case: Case) -> str:
    unit = "s/epoch" if case.num_images == 60_000 else f"s/{case.num_images:,} images"
    return _table(results, unit, "loss, epoch 2")


def processes_table(results: dict[str, Measured]) -> str:
    return _table(results, "seconds", "loss, last epoch")


def _table(results: dict[str, Measured], unit: str, loss: str) -> str:
    lines = [f"| side | version | {unit} | / reparam | range | {loss} | cores used |", "|---|---|---|---|---|---|---|"]
    for name, result in results.items():
        if not result.seconds:
            continue
        versions = ", ".join(f"{package} {version}" for package, version in result.about["versions"].items())
        paired = ratios(results, name)
        ratio = f"{median(paired):.2f} | {min(paired):.2f} to {max(paired):.2f}" if paired else "|"
        cores = sum(result.processor) / sum(result.seconds)
        nats = "" if result.loss is None else f"{result.loss:.2f}"
        lines.append(f"| {name} | {versions} | {median(result.seconds):.2f} | {ratio} | {nats} | {cores:.1f} |")
    return "\n".join(lines)


def remarks(results: dict[str, Measured], case: Case) -> list[str]:
    """Who is missing, who did other work, and who disturbed the others."""
    said = [f"{name}: {result.missing}" for name, result in results.items() if result.missing]
    ours = results[OURS].loss
    for name, result in results.items():
        if result.loss is not None and ours is not None and abs(result.loss - ours) > case.tolerance:
            said.append(f"{name}: its loss is {result.loss - ours:+.1f} nats from ours. That is not the same work.")
        if result.idle > ASLEEP:
            said.append(f"{name}: it used {result.idle:.0%} of a core while others had their turn.")
    return said


def limit(results: dict[str, Measured], case: Case) -> list[str]:
    """What a step cannot do without: its matrix products, and the numbers that it has to move."""
    if PRODUCTS not in results or not (paired := ratios(results, PRODUCTS)):
        return []
    products, steps = case.products(), math.ceil(case.num_images / case.batch_size)
    operations = sum(product.operations for product in products)
    rate = operations * steps / median(results[PRODUCTS].seconds)
    moved = 4 * sum(product.values for product in products)
    adam = 4 * 7 * case.num_weights  # reads weight, gradient and two moments, writes all but the gradient
    return [
        f"The {len(products)} matrix products of a step ({operations / 1e9:.2f} GFLOP, {rate / 1e9:.0f} GFLOP/s here) "
        f"take {median(paired):.0%} of our time. Their {moved / 1e6:.1f} MB, each number read or written once, are "
        f"{moved / (moved + adam):.0%} of these and Adam's {adam / 1e6:.1f} MB for {case.num_weights:,} weights."
    ]
