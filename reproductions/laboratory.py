"""Measures every estimator on the embedded models, and biases against temperature: the tables of docs/estimators.md.

    python reproductions/laboratory.py                 # about five minutes on two cores; writes laboratory.json
    python reproductions/laboratory.py --keep-times    # on a busy machine: seconds as in laboratory.json

Seed 1, 1,000 gradients of each estimator, of the posterior's parameters, on 32 test images; the models are those of
`reparam lab`: 8 bits, 4 x 3 symbols and 8 real numbers, MNIST at 7 x 7 pixels, one epoch of training.
"""

import argparse
import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import torch

import reparam as rp
from reparam.laboratory.embedded import embedded_model

RESULTS = Path(__file__).with_suffix(".json")
TEMPERATURES = (1.0, 0.5, 0.25, 0.1)
LATENTS: tuple[Literal["bernoulli", "categorical", "gaussian"], ...] = ("bernoulli", "categorical", "gaussian")


def relaxations(temperature: float) -> dict[str, rp.Estimator]:
    """Everything that has a temperature, at this one."""
    return {
        "Relaxed(T)": rp.Relaxed(temperature),
        "Relaxed(T, kl='relaxed')": rp.Relaxed(temperature, kl="relaxed"),
        "Relaxed(T, straight_through=True)": rp.Relaxed(temperature, straight_through=True),
        "GumbelRao(T)": rp.GumbelRao(temperature),
    }


def rows(found: rp.Lab) -> list[dict[str, Any]]:
    """Every number, to five digits, with whether a bias was seen."""
    return [{k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in asdict(f).items()} for f in found.findings]


def retimed(found: rp.Lab, before: list[dict[str, Any]]) -> rp.Lab:
    """The findings with the seconds of other ones, by name, and what follows from these."""
    seconds = {each["name"]: each["seconds"] for each in before}
    slowest = max(seconds[each.name] for each in found.findings)
    changed = []
    for each in found.findings:
        share, square = seconds[each.name] / slowest, each.bias**2 if each.biased else 0.0
        mse = square + each.variance * share
        errors = (2 * each.bias * each.bias_error if each.biased else 0.0, each.variance_error * share)
        changed.append(replace(each, seconds=seconds[each.name], mse=mse, mse_error=math.hypot(*errors)))
    order = sorted(changed, key=lambda each: (each.bound, math.isnan(each.mse), each.mse))
    return replace(found, findings=tuple(order))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep-times", action="store_true", help="take the seconds from the results that are there")
    keep = parser.parse_args().keep_times
    before = json.loads(RESULTS.read_text()) if keep else {}
    results: dict[str, Any] = {"about": {"torch": torch.__version__, "threads": torch.get_num_threads()}}
    for latent in LATENTS:
        model, x = embedded_model(latent)
        found = rp.lab(model, x, repeats=1000, part="posterior", reference_repeats=20_000)
        found = retimed(found, before[latent]["findings"]) if keep else found
        print(found, flush=True)
        results[latent] = {"findings": rows(found), "advice": found.advice()}
        if latent != "gaussian":
            chosen = {
                f"{name} at {temperature:g}": estimator
                for temperature in TEMPERATURES
                for name, estimator in relaxations(temperature).items()
            }
            found = rp.lab(model, x, chosen, repeats=1000, part="posterior")
            found = retimed(found, before[latent]["temperatures"]) if keep else found
            print(found, flush=True)
            results[latent]["temperatures"] = rows(found)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
