"""Makes the pictures of the README: `make pictures`, after `make run` and `python reproductions/curves.py`."""

import json
import shutil
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt

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


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    copy_grids()
    draw_curves()
