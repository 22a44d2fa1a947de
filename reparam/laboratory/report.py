"""What the laboratory found, as a table, a file, a figure and a sentence."""

from __future__ import annotations

import csv
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

VISIBLE = 3.0  # a squared bias, or a difference between two errors, counts from so many standard errors on


@dataclass(frozen=True)
class Finding:
    """What was measured of one estimator's gradient g, against the exact gradient g* of the same bound.

    All but `name`, `bound`, `seconds` and `decodings` are relative to the length of g*, so that 1 means "as large as
    the gradient itself".

    Attributes:
        name: of the estimator.
        bound: whose gradient it is compared with: "elbo", "iwae_4", ...
        bias: length of E[g] - g*; NaN where there is no reference.
        bias_error: what a bias smaller than cannot be told from none, about its standard error.
        variance: of one g, summed over coordinates.
        variance_error: its standard error.
        cosine: mean cosine of the angle between one g and g*.
        signal_to_noise: length of E[g] over the root of the variance.
        seconds: median time of one g.
        decodings: decoder evaluations of one g, for each example.
        mse: mean squared error at equal time: bias squared, if it was seen, plus the variance of the mean of as many g
            as fit into the time of the slowest estimator.
        mse_error: its standard error.
        heaviest: the share of the one g that adds most to the variance. Where it is large, rare draws rule, and no
            figure of this estimator can be trusted before there are more repeats.
        biased: whether a bias was seen: its square is more than three standard errors of that.
        broken: how many g held NaN or Inf; then nothing else is said.
    """

    name: str
    bound: str
    bias: float
    bias_error: float
    variance: float
    variance_error: float
    cosine: float
    signal_to_noise: float
    seconds: float
    decodings: float
    mse: float = math.nan
    mse_error: float = math.nan
    heaviest: float = 0.0
    biased: bool = False
    broken: int = 0


@dataclass(frozen=True)
class Lab:
    """The laboratory's result; `print(lab)` is the table and the advice.

    Attributes:
        findings: one for each estimator, the best at equal time first within each bound.
        repeats: gradients drawn of each.
        part: whose parameters: "all", "posterior" or "generative".
        reference: how the exact gradients were found, in words.
        refused: estimators that do not take this model, and why.
    """

    findings: tuple[Finding, ...]
    repeats: int
    part: str
    reference: str
    refused: dict[str, str]

    def __getitem__(self, name: str) -> Finding:
        """The finding of one estimator, by its name."""
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(f"{name!r} was not measured; there are {', '.join(f.name for f in self.findings)}.")

    def table(self) -> Table:
        """For a rich console."""
        from rich.markup import escape
        from rich.table import Table

        title = f"Gradient of {self.part} parameters, {self.repeats} draws, relative to {self.reference}"
        table = Table(title=title, title_justify="left")
        table.add_column("estimator", no_wrap=True)
        heads = ("bound", "bias", "+/-", "variance", "cosine", "signal/noise", "ms", "decodings", "error at equal time")
        for head in heads:
            table.add_column(head, justify="left" if head == "bound" else "right")
        for f in self.findings:
            bias = f"[red]{f.bias:.3f}[/red]" if f.biased else f"{f.bias:.3f}"
            variance = f"{'~' if self.heavy(f) else ''}{f.variance:.3g}"
            cells = [f"{number:.3g}" for number in (f.cosine, f.signal_to_noise, 1e3 * f.seconds)]
            error = (f"{f.bias_error:.3f}", variance)
            table.add_row(escape(f.name), f.bound, bias, *error, *cells, f"{f.decodings:g}", f"{f.mse:.3g}")
        return table

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=160, color_system=None)
        with console.capture() as captured:
            console.print(self.table())
        refused = "".join(f"left out: {name}: {why}\n" for name, why in self.refused.items())
        return f"{captured.get()}{refused}{self.advice()}"

    def advice(self) -> str:
        """Which to use, in a sentence for each bound."""
        lines = [_advise(bound, found) for bound, found in self._by_bound().items()]
        heavy = [f.name for f in self.findings if self.heavy(f)]
        if heavy:
            lines.append(
                f"~ one of the {self.repeats} draws makes up a large part of the variance of {', '.join(heavy)}: "
                "figures of those need more repeats."
            )
        lines += [f"{f.name} gave NaN or Inf in {f.broken} of {self.repeats} draws." for f in self.findings if f.broken]
        return "\n".join(lines)

    def heavy(self, finding: Finding) -> bool:
        """Whether one draw rules the variance: more than a fifth of it, or ten times its share."""
        return finding.heaviest > max(0.2, 10 / self.repeats)

    def _by_bound(self) -> dict[str, list[Finding]]:
        groups: dict[str, list[Finding]] = {}
        for finding in self.findings:
            groups.setdefault(finding.bound, []).append(finding)
        return groups

    def to_csv(self, path: str | Path) -> Path:
        """Writes every number; refuses to overwrite."""
        path = _fresh(path)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(asdict(self.findings[0])))
            writer.writeheader()
            writer.writerows(asdict(f) for f in self.findings)
        return path

    def figure(self, path: str | Path) -> Path:
        """Bias against variance, each relative to the exact gradient, with the time as area; needs matplotlib.

        Raises:
            ImportError: matplotlib is not installed.
            FileExistsError: something is there already.
        """
        try:  # rich and matplotlib are imported where they are needed
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError("the figure needs matplotlib: pip install matplotlib") from error
        path = _fresh(path)
        figure = Figure(figsize=(9, 5.5), layout="constrained")
        _scatter(figure.add_subplot(), self.findings, self.part)
        figure.savefig(path, dpi=130)
        return path


def _advise(bound: str, found: list[Finding]) -> str:
    known = [f for f in found if not math.isnan(f.mse)]
    if not known and all(f.broken for f in found):
        return f"{bound}: no estimator gave a finite gradient."
    if not known:
        return f"{bound}: no reference gradient could be had, so nothing is said of which to use."
    exact = [f for f in known if f.mse < 1e-12]
    known = known[len(exact) :]
    text = f"{bound}: "
    if exact:
        text += f"{exact[0].name} is exact, in {1e3 * exact[0].seconds:.3g} ms; "
    if not known:
        return text.strip()
    best = known[0]
    text += f"{'of those that sample, ' if exact else ''}use {best.name}"
    if len(known) > 1:
        rivals = [f for f in known[1:] if f.mse - best.mse < VISIBLE * math.hypot(f.mse_error, best.mse_error)]
        if rivals:
            text += f" or {', '.join(f.name for f in rivals[:3])}, which this many draws cannot tell apart"
        after = [f for f in known[1:] if f not in rivals]
        if after:
            text += f"; at equal time its mean squared error is {after[0].mse / best.mse:.1f} times less than that of"
            text += f" {after[0].name}"
    unbiased = [f for f in known if not f.biased]
    if best.biased:
        text += f". It is biased, by {best.bias:.0%} of the gradient"
        if unbiased:
            text += f"; the best without a visible bias is {unbiased[0].name}"
        elif len(known) > 1:
            text += ", and so are all others"
    return text + "."


def _scatter(axis: Any, findings: tuple[Finding, ...], part: str) -> None:
    shown = sorted((f for f in findings if not math.isnan(f.bias) and f.variance > 0), key=lambda f: f.variance)
    if not shown:
        raise ValueError("no estimator has both a reference and a variance; there is nothing to draw.")
    seen = [f.bias for f in shown if f.biased]
    left = min([*seen, 1.0]) / 3
    slowest = max(f.seconds for f in shown)
    axis.set(xscale="log", yscale="log", ylabel="variance of one gradient, relative to the exact one's squared length")
    for finding in shown:
        colour = "#c2410c" if finding.biased else "#0f766e"
        at = (finding.bias if finding.biased else left, finding.variance)
        axis.scatter(*at, s=20 + 500 * finding.seconds / slowest, color=colour, alpha=0.3, linewidths=0)
        axis.scatter(*at, s=8, color=colour)
    axis.set_xlabel("bias, relative to the exact gradient's length (teal: none was seen; drawn at the left)")
    axis.set_title(f"Gradient of {part} parameters; area: time of one gradient", fontsize=10, loc="left")
    axis.set_xlim(left / 1.6, max([*seen, 1.0]) * 30)
    axis.margins(y=0.08)
    axis.spines[["top", "right"]].set_visible(False)
    _label(axis, [(f.name, f.bias if f.biased else left, f.variance) for f in shown])


def _label(axis: Any, points: list[tuple[str, float, float]]) -> None:
    """Names beside points that come from low to high, each moved up until it meets no other."""
    inverse = axis.transAxes.inverted()
    placed: list[tuple[float, float]] = []
    for name, *at in points:
        x, y = inverse.transform(axis.transData.transform(at))
        height = y
        while any(abs(x - other_x) < 0.3 and abs(height - other) < 0.03 for other_x, other in placed):
            height += 0.005
        placed.append((x, height))
        line = {"arrowstyle": "-", "color": "#999999", "linewidth": 0.5}
        axis.annotate(
            name, at, (x + 0.035, height), textcoords="axes fraction", va="center", fontsize=7, arrowprops=line
        )


def _fresh(path: str | Path) -> Path:
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists already, and nothing is overwritten. Choose another name, or remove it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
