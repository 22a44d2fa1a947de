"""Makes the pictures of README and docs: `make pictures`, after `make run` and the scripts of reproductions/."""

import json
import shutil
from pathlib import Path
from statistics import fmean

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from reparam.catalogue import ENTRIES

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "imgs"
NAMES = {"vae": "vae", "gaussian_vae": "gaussian", "binconcrete": "binconcrete", "concrete": "concrete"}


def copy_grids() -> None:
    """The last epoch's reconstructions and samples of each example."""
    for script, short in NAMES.items():
        folder = ROOT / "results" / script
        epochs = [int(path.stem.split("_")[1]) for path in folder.glob("sample_*.png")]
        if not epochs:
            raise SystemExit(f"{folder} holds no pictures. Run `make run` first.")
        last = max(epochs)
        shutil.copyfile(folder / f"reconstruction_{last}.png", IMAGES / f"{short}_recon_sample.png")
        shutil.copyfile(folder / f"sample_{last}.png", IMAGES / f"{script}_sample.png")


def draw_curves() -> None:
    """What the loss claims and what the model is, for both discrete latents."""
    curves = json.loads((ROOT / "reproductions" / "curves.json").read_text())
    mpl.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), constrained_layout=True)
    for axis, latent in zip(axes, ("20 Bernoulli", "20 x 10 Categorical"), strict=True):
        surrogate, rloo = (curves[f"{latent}, {name}"] for name in ("surrogate", "rloo"))
        epochs = range(1, len(rloo["exact"]) + 1)
        lines = [
            (surrogate["exact"], "#c2410c", "-", "trained on the surrogate: the model"),
            (surrogate["claimed"], "#c2410c", "--", "trained on the surrogate: its claim"),
            (rloo["exact"], "#0f766e", "-", "trained exactly (RLOO): the model and its claim"),
        ]
        for values, colour, style, label in lines:
            axis.plot(epochs, values, style, color=colour, label=label, linewidth=2)
        height = float("-inf")
        for values, colour, *_ in sorted(lines, key=lambda line: line[0][-1]):
            height = max(values[-1], height + 3.2)  # far enough apart to be read
            axis.text(len(values) + 0.15, height, f"{values[-1]:.1f}", va="center", color=colour)
        axis.fill_between(epochs, surrogate["claimed"], surrogate["exact"], color="#c2410c", alpha=0.08)
        axis.set(title=f"{latent} latents", xlabel="epoch", ylim=(100, 165), xlim=(1, 10.9))
        axis.set_xticks(list(epochs))
    axes[0].set_ylabel("negative test bound, nats per image")
    axes[1].legend(frameon=False, fontsize=10, loc="upper right")
    figure.savefig(IMAGES / "claimed_and_exact.png", dpi=130)


GROUPS = {"score function": "#0f766e", "relaxed": "#c2410c", "exact": "#1d4ed8", "wake-sleep": "#7c3aed"}


def draw_estimators() -> None:
    """Exact test bound against time for every estimator, and for the presets."""
    runs = json.loads((ROOT / "reproductions" / "estimators.json").read_text())["runs"]
    presets = json.loads((ROOT / "reproductions" / "presets.json").read_text())["runs"]
    mpl.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = plt.subplots(1, 2, figsize=(13, 7.2), constrained_layout=True)
    for axis, latent, limits in ((axes[0], "Bernoulli", (112, 150)), (axes[1], "Categorical", (100, 150))):
        ends = []
        for entry in ENTRIES:
            chosen = [r for r in runs if (r["latent"], r["estimator"]) == (latent, entry.name) and "diverged" not in r]
            if chosen:
                line = mean_curve(chosen)
                axis.plot(*line, color=GROUPS[entry.group], alpha=0.65, linewidth=1)
                ends.append((entry.name, GROUPS[entry.group], line[0][-1], line[1][-1]))
        for name in dict.fromkeys(r["preset"] for r in presets if r["preset"].startswith(latent.lower())):
            line = mean_curve([r for r in presets if r["preset"] == name])
            axis.plot(*line, color="black", linewidth=2)
            ends.append((f"preset: {name.partition('-')[2].replace('-', ' ')}", "black", line[0][-1], line[1][-1]))
        shape = {"Bernoulli": "20 Bernoulli", "Categorical": "20 x 10 Categorical"}[latent]
        axis.set(
            title=f"{shape} latents",
            xlabel="seconds of training on one core",
            xscale="log",
            ylim=limits,
            xlim=(3, 4000),
        )
        axis.set_xticks([3, 10, 30, 100, 300], ["3", "10", "30", "100", "300"])
        axis.minorticks_off()
        label_ends(axis, ends, limits)
    axes[0].set_ylabel("negative exact test bound, nats per image")
    lines = [mpl.lines.Line2D([], [], color=colour, label=group) for group, colour in GROUPS.items()]
    lines.append(mpl.lines.Line2D([], [], color="black", linewidth=2, label="presets"))
    axes[0].legend(handles=lines, frameon=False, loc="lower left", fontsize=9)
    figure.savefig(IMAGES / "estimators.png", dpi=130)


def mean_curve(runs: list[dict[str, list[float]]]) -> tuple[list[float], list[float]]:
    """Seconds and bounds, each a mean over the seeds."""
    seconds, bounds = (
        [fmean(each) for each in zip(*(r[key] for r in runs), strict=True)] for key in ("seconds", "elbo")
    )
    return seconds, bounds


def label_ends(axis: Axes, ends: list[tuple[str, str, float, float]], limits: tuple[float, float]) -> None:
    """Names in a column at the right, in the order of the bounds, each tied to the end of its curve."""
    low, high = limits
    gap, column = (high - low) / 42, 520.0
    ends = sorted(ends, key=lambda end: end[3])
    heights = [low - gap]
    for _, _, _, y in ends:
        heights.append(max(min(y, high), heights[-1] + gap))
    heights = heights[1:]
    for index in range(len(heights) - 1, -1, -1):  # those that were pushed out at the top come down again
        above = heights[index + 1] if index + 1 < len(heights) else high + gap
        heights[index] = min(heights[index], above - gap)
    for (name, colour, x, y), height in zip(ends, heights, strict=True):
        axis.plot([x, column * 0.96], [min(y, high), height], color=colour, linewidth=0.4, alpha=0.6, clip_on=False)
        axis.text(column, height, f"{y:.1f}  {name}", va="center", fontsize=7.5, color=colour, clip_on=False)


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    copy_grids()
    draw_curves()
    draw_estimators()
