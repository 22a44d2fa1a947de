"""Writes the tables of the docs between their marks: `make tables`, from the results in reproductions/."""

import json
import math
import re
import statistics
from pathlib import Path
from typing import Any

from reparam.catalogue import BITS, ENTRIES, REALS, SYMBOLS

ROOT = Path(__file__).resolve().parent.parent
Run = dict[str, Any]


def results(name: str) -> Any:
    """What a script of reproductions/ found."""
    return json.loads((ROOT / "reproductions" / f"{name}.json").read_text())


def spread(values: list[float], digits: int = 2) -> str:
    """Mean, and lowest to highest; with the number of seeds where it is not three."""
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.{digits}f} (1 seed)"
    seeds = "" if len(values) == 3 else f"{len(values)} seeds, "
    return f"{statistics.mean(values):.{digits}f} ({seeds}{min(values):.{digits}f} to {max(values):.{digits}f})"


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table; numbers to the right."""
    aligned = [":---" if index < 1 else "---:" for index in range(len(head))]
    lines = [head, aligned, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def overview() -> str:
    """Every estimator: what it takes, its bias, cost, measured variance, reference."""
    measured = results("laboratory")
    findings = {
        kind: {f["name"]: f for f in measured[kind]["findings"]} for kind in ("bernoulli", "categorical", "gaussian")
    }
    columns = {"bernoulli": BITS, "categorical": SYMBOLS, "gaussian": REALS}
    rows = []
    for entry in ENTRIES:
        found = {kind: findings[kind].get(entry.name) for kind in columns}
        decodings = [f"{f['decodings']:g}" for f in found.values() if f]
        cells = [f"`{entry.name}`", takes(entry.latents), entry.bias, " / ".join(decodings)]
        cells += [number(f["variance"]) if f else "" for f in found.values()]
        rows.append([*cells, entry.reference])
    head = [
        "estimator",
        "latents",
        "bias",
        "decodings",
        "variance, 8 bits",
        "4 x 3 symbols",
        "8 reals",
        "reference (arXiv)",
    ]
    return markdown(head, rows)


def takes(latents: tuple[str, ...]) -> str:
    """The kinds of latent in words."""
    return "any" if "other" in latents else ", ".join(latents)


def number(value: float) -> str:
    """Three digits, and nothing where there is no number."""
    return "" if math.isnan(value) else f"{value:.3g}"


def expectation(kind: str, finding: dict[str, Any]) -> tuple[str, float]:
    """The bias of a finding as a cell, and its square: the exact one where reproductions/expectations.py has it."""
    name = finding["name"]
    if " at " in name:  # of a table over temperatures
        name, _, temperature = name.rpartition(" at ")
        name = name.replace("(T", f"(temperature={float(temperature)}")
    found = results("expectations").get(kind, {}).get(name, finding)
    if math.isnan(found["bias"]):
        return "", 0.0
    error = "" if found.get("how") == "states" else f" +/- {found['bias_error']:.3f}"
    cell = f"{found['bias']:.3f}{error}"
    return (f"**{cell}**", found["bias"] ** 2) if found["biased"] else (cell, 0.0)


def bias(kind: str) -> str:
    """What was measured on one embedded model, ranked by error at equal time."""
    rows = []
    for f in results("laboratory")[kind]["findings"]:
        cell, square = expectation(kind, f)
        mse = f["mse"] - (f["bias"] ** 2 if f["biased"] else 0.0) + square
        cells = [number(f[name]) for name in ("variance", "cosine", "signal_to_noise")]
        row = [f"`{f['name']}`", f["bound"], cell, *cells, f"{1e3 * f['seconds']:.2f}", number(mse)]
        rows.append((f["bound"], math.inf if math.isnan(mse) else mse, row))
    head = ["estimator", "bound", "bias", "variance", "cosine", "signal/noise", "ms", "error at equal time"]
    return markdown(head, [row for _, _, row in sorted(rows, key=lambda each: each[:2])])


def temperatures() -> str:
    """Bias and variance of what has a temperature, at four of them."""
    rows = []
    for kind in ("bernoulli", "categorical"):
        found = {f["name"]: f for f in results("laboratory")[kind]["temperatures"]}
        names = dict.fromkeys(name.rsplit(" at ", 1)[0] for name in found)
        at = sorted({float(name.rsplit(" at ", 1)[1]) for name in found}, reverse=True)
        for name in names:
            each = [found[f"{name} at {t:g}"] for t in at]
            cells = [f"{expectation(kind, f)[0].strip('*')}; {f['variance']:.3g}" for f in each]
            rows.append([f"`{name}`, {kind}", *cells])
    return markdown(["estimator, latent", *[f"T = {t:g}" for t in at]], rows)


def training() -> str:
    """Exact test bounds after ten epochs with every estimator."""
    runs: list[Run] = results("estimators")["runs"]
    rows = []
    for entry in ENTRIES:
        cells = [f"`{entry.name}`"]
        for kind in (BITS, SYMBOLS):
            chosen = [r for r in runs if r["estimator"] == entry.name and r["latent"] == kind]
            if any("diverged" in r for r in chosen):
                cells += ["diverged", "", ""]
                continue
            seconds = f"{statistics.median(r['seconds'][-1] for r in chosen):.0f}" if chosen else ""
            cells += [spread([r["elbo"][-1] for r in chosen]), spread([r["iwae_16"] for r in chosen]), seconds]
        if any(cells[1:]):
            rows.append(cells)
    rows.sort(key=lambda row: first_number(row[1]) or 1000 + first_number(row[4]))
    head = ["estimator", "20 Bernoulli: ELBO", "IWAE-16", "s", "20 x 10 Categorical: ELBO", "IWAE-16", "s"]
    return markdown(head, rows)


def first_number(cell: str) -> float:
    """The mean in a cell, 0 if there is none."""
    found = re.match(r"[\d.]+", cell)
    return float(found[0]) if found else 0.0


def presets() -> str:
    """Exact test bounds of the presets."""
    found = results("presets")
    runs: list[Run] = found["runs"]
    rows = []
    for name in dict.fromkeys(run["preset"] for run in runs):
        chosen = [run for run in runs if run["preset"] == name]
        cells = [
            spread([run[key] if key != "elbo" else run["elbo"][-1] for run in chosen])
            for key in ("elbo", "iwae_16", "train_elbo")
        ]
        wall = found.get("wall", {}).get(name)
        seconds = f"{statistics.median(run['seconds'][-1] for run in chosen):.0f}"
        rows.append([f"`{name}`", *cells, seconds, f"{wall:.0f}" if wall else ""])
    return markdown(
        ["preset", "test ELBO", "test IWAE-16", "ELBO, 10,000 training images", "s, one core", "s, two cores"], rows
    )


def latents() -> str:
    """One decoder, many latents."""
    runs: list[Run] = results("latents")["runs"]
    rows = []
    for name in dict.fromkeys(run["name"] for run in runs):
        chosen = [run for run in runs if run["name"] == name]
        cells = [spread([run[key] for run in chosen]) for key in ("L_500", "elbo", "rate")]
        seconds = f"{statistics.median(run['seconds'] for run in chosen):.0f}"
        picture = f"![](../imgs/latents/{chosen[0]['picture']})"
        rows.append([f"`{name}`", f"`{chosen[0]['estimator']}`", *cells, seconds, picture])
    rows.sort(key=lambda row: first_number(row[2]))
    return markdown(["latent", "estimator", "L_500", "ELBO", "KL", "s", "samples"], rows)


def layers() -> str:
    """IWAEs of one and two layers."""
    runs: list[Run] = results("two_layers")["runs"]
    rows = []
    for name in dict.fromkeys(run["name"] for run in runs):
        chosen = [run for run in runs if run["name"] == name]
        cells = [spread([run[key] for run in chosen]) for key in ("L_500", "elbo")]
        rows.append([name, *cells, f"{statistics.median(run['seconds'] for run in chosen):.0f}"])
    return markdown(["model", "L_500", "ELBO", "s"], rows)


def densities() -> str:
    """The continuous Bernoulli, ours and torch's."""
    runs: list[Run] = results("continuous_bernoulli")["runs"]
    rows = []
    for name in dict.fromkeys(run["name"] for run in runs):
        chosen = [run for run in runs if run["name"] == name]
        keys = ("elbo under reparam", "elbo under torch", "share of pixels beyond logit 10")
        rows.append([f"{name}'s", *(spread([run[key] for run in chosen], 4 if "share" in key else 1) for key in keys)])
    return markdown(["trained with", "right density", "torch's density", "pixels beyond logit 10"], rows)


def mistakes() -> str:
    """What torch's distributions get wrong."""
    return markdown(["", "torch", "reparam"], results("torch_errors")["rows"])


def weights() -> str:
    """Claimed and actual errors where log p(x) is known."""
    runs: list[Run] = results("weights")["rows"]
    found = {(run["scale"], run["num_samples"]): run for run in runs}
    rows = []
    for scale in dict.fromkeys(run["scale"] for run in runs):
        k, many = (3, 16, 100, 1000), (100, 1000)
        estimates = {n: found[scale, n]["log_likelihood"] for n in k}
        cells = [f"{estimates[n]['distance']:.3f}" for n in many]
        cells += [f"{found[scale, n]['unreliable']:.0%}" for n in many]
        cells += [f"{estimates[n]['actual']:.4f}" for n in many]
        cells += [f"{estimates[n]['claimed'] / estimates[n]['actual']:.2f}" for n in k]
        rows.append([f"{scale:g}", f"{found[scale, 1000]['k']:.2f}", *cells])
    head = ["scale", "k", "distance, K = 100", "1000", "unreliable, 100", "1000", "spread, 100", "1000"]
    return markdown([*head, "claimed / spread, 3", "16", "100", "1000"], rows)


ESTIMATORS = {
    "overview": overview,
    "bernoulli": lambda: bias("bernoulli"),
    "categorical": lambda: bias("categorical"),
    "gaussian": lambda: bias("gaussian"),
    "temperatures": temperatures,
    "training": training,
    "presets": presets,
}
PAGES = {
    ROOT / "docs" / "estimators.md": ESTIMATORS,
    ROOT / "docs" / "evaluation.md": {"weights": weights},
    ROOT / "docs" / "latents.md": {"latents": latents, "layers": layers, "densities": densities, "mistakes": mistakes},
}


def filled(path: Path, page: str) -> str:
    """The page with every table between its marks made anew."""
    for name, table in PAGES[path].items():
        marks = re.compile(rf"(<!-- table {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        found = marks.search(page)
        if found is None:
            raise SystemExit(f"{path} has no marks <!-- table {name} --> and <!-- end -->.")
        page = f"{page[: found.start()]}{found[1]}{table()}\n{found[2]}{page[found.end() :]}"
    return page


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(filled(path, path.read_text()))
