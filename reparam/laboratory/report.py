"""What the laboratory found, as a table, a file, a figure and a sentence."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reparam._files import write_whole
from reparam._spelling import argument
from reparam.estimators import Estimator

if TYPE_CHECKING:
    from rich.table import Table

VISIBLE = 3.0  # a squared bias, or a difference between two errors, counts from so many standard errors on


@dataclass(frozen=True)
class Finding:
    """What was measured of one estimator's gradient g, against the exact gradient g* of the same bound.

    All but `name`, `bound`, `seconds` and `decodings` are relative to the length of g*, so that 1 means "as large as
    the gradient itself". Where g* is a long average, its noise is in every error, and its length is estimated without
    the noise that lengthens the average.

    Attributes:
        name: of the estimator.
        bound: whose gradient it is compared with: "elbo", "iwae_4", ...
        bias: length of E[g] - g*; NaN where there is no reference.
        bias_error: its standard error, or, where no bias is seen, the bias that could be hidden.
        variance: of one g, summed over coordinates.
        variance_error: its standard error.
        cosine: mean cosine of the angle between one g and g*.
        signal_to_noise: length of E[g] over the root of the variance.
        seconds: median time of one g.
        decodings: decoder evaluations of one g, for each example.
        mse: mean squared error at equal time: bias squared, if it was seen, plus the variance of the mean of as many g
            as fit into the time of the slowest estimator.
        mse_error: its standard error.
        length_error: the part of `variance_error` and `mse_error` that is the reference's length: its standard error
            over its value. It moves all figures of a bound alike, and their order not at all.
        mse_decodings: the same at an equal number of decodings, that of the estimator with most.
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
    mse_decodings: float = math.nan
    length_error: float = math.nan
    heaviest: float = 0.0
    biased: bool = False
    broken: int = 0

    @property
    def ranking_error(self) -> float:
        """The part of `mse_error` that can change the order of two estimators: all but the reference's length."""
        return math.sqrt(max(0.0, self.mse_error**2 - (2 * self.length_error * self.mse) ** 2))


@dataclass(frozen=True, repr=False)
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

    def __getitem__(self, which: str | Estimator) -> Finding:
        """The finding of one estimator, by its name or by itself."""
        for finding in self.findings:
            if finding.name == str(which):
                return finding
        raise KeyError(f"{str(which)!r} was not measured; there are {', '.join(f.name for f in self.findings)}.")

    def table(self, width: int = 160) -> Table:
        """For a rich console; a narrow one gets fewer columns."""
        from rich.markup import escape
        from rich.table import Table

        title = f"Gradient of {self.part} parameters, {self.repeats} draws, relative to {self.reference}"
        table = Table(title=title, title_justify="left", title_style="bold")
        table.add_column("estimator", overflow="fold")
        columns = [head for head in _COLUMNS if width >= 140 or head not in _DETAILS]
        for head in columns:
            table.add_column(head, justify="left" if head == "bound" else "right")
        for finding in self.findings:
            cells = {head: make(finding) for head, make in _COLUMNS.items()}
            if self.heavy(finding):
                cells["variance"] = f"~{cells['variance']}"
            table.add_row(escape(finding.name), *(cells[head] for head in columns))
        return table

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=160, color_system=None)
        with console.capture() as captured:
            console.print(self.table())
        lines = [line.rstrip() for line in captured.get().splitlines()]
        return "\n".join([*lines, self.notes()])

    __repr__ = __str__

    def notes(self) -> str:
        """What stands below the table: its signs, what was left out, the advice."""
        signs = "* a bias was seen; +/- its standard error, or what could be hidden. "
        signs += "error at equal time: mean squared, of as many gradients as the slowest takes time for one"
        left_out = [f"left out: {name}: {why}" for name, why in self.refused.items()]
        return "\n".join([signs, *left_out, *self._noisy_references(), self.advice()])

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

    def _noisy_references(self) -> list[str]:
        """A line for each bound whose exact gradient is known so badly that relative figures are."""
        known = {bound: found[0].length_error for bound, found in self._by_bound().items()}
        return [
            f"{bound}: the length of the reference gradient has an error of {error:.0%}, which moves all figures "
            "relative to it alike. Raise reference_repeats."
            for bound, error in known.items()
            if error > 0.1
        ]

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
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(asdict(self.findings[0])))
        writer.writeheader()
        writer.writerows(asdict(f) for f in self.findings)
        return write_whole(path, text.getvalue().encode())

    def figure(self, path: str | Path) -> Path:
        """Bias against variance, each relative to the exact gradient, with the time as area; needs matplotlib.

        Raises:
            ImportError: matplotlib is not installed.
            FileExistsError: something is there already.
        """
        check_figure(path)
        from matplotlib.figure import Figure

        path = _fresh(path)
        figure = Figure(figsize=(10, 6.5), layout="constrained")
        _scatter(figure.add_subplot(), self.findings, self.part)
        drawn = io.BytesIO()
        figure.savefig(drawn, format=path.suffix.lstrip(".").lower(), dpi=130)
        return write_whole(path, drawn.getvalue())


def _digits(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"


_COLUMNS: dict[str, Callable[[Finding], str]] = {
    "bound": lambda f: f.bound,
    "bias": lambda f: "-" if math.isnan(f.bias) else f"{f.bias:.3f}{'*' if f.biased else ' '}",
    "+/-": lambda f: "-" if math.isnan(f.bias) else f"{f.bias_error:.3f}",
    "variance": lambda f: _digits(f.variance),
    "cosine": lambda f: _digits(f.cosine),
    "signal/noise": lambda f: _digits(f.signal_to_noise),
    "ms": lambda f: _digits(1e3 * f.seconds),
    "decodings": lambda f: f"{f.decodings:g}",
    "error at equal time": lambda f: _digits(f.mse),
}
_DETAILS = ("cosine", "signal/noise", "decodings")


def _advise(bound: str, found: list[Finding]) -> str:
    known = [f for f in found if not math.isnan(f.mse)]
    if not known and all(f.broken for f in found):
        return f"{bound}: no estimator gave a finite gradient."
    if not known:
        return f"{bound}: no reference gradient could be had, so nothing is said of which to use."
    exact = [f for f in known if f.mse < 1e-12]
    text = f"{bound}: "
    if exact:
        text += f"{exact[0].name} is exact, in {1e3 * exact[0].seconds:.3g} ms; "
        known = known[len(exact) :]
    if not known:
        return text.removesuffix("; ") + "."
    best, others = known[0], known[1:]
    text += f"{'of those that sample ' if exact else ''}use {best.name}"
    if not others:
        return f"{text}: nothing else was measured{_bias_of(best, [])}."
    apart = [f for f in others if f.mse - best.mse > VISIBLE * math.hypot(f.ranking_error, best.ranking_error)]
    close = [f for f in others if f not in apart and f.mse < 2 * best.mse]
    if close:
        text += f". {', '.join(f.name for f in close)} cannot be told apart from it by this many draws"
    if apart:
        text += f". {apart[0].name} has {apart[0].mse / best.mse:.1f} times its error at equal time"
    elif not close:
        text += ". This many draws cannot tell it from the others: raise repeats"
    by_decodings = min(known, key=lambda f: f.mse_decodings)
    if 1.5 * by_decodings.mse_decodings < best.mse_decodings:
        text += f". At equal numbers of decodings, as with a large decoder, {by_decodings.name} is best"
    return f"{text}{_bias_of(best, known)}."


def _bias_of(best: Finding, known: list[Finding]) -> str:
    if not best.biased:
        return ""
    unbiased = [f.name for f in known if not f.biased]
    rest = f"; the best without a visible bias is {unbiased[0]}" if unbiased else ""
    return f". {best.name} is biased, by {best.bias:.0%} of the gradient{rest}"


def _scatter(axis: Any, findings: tuple[Finding, ...], part: str) -> None:
    shown = sorted((f for f in findings if not math.isnan(f.bias) and f.variance > 0), key=lambda f: f.variance)
    if not shown:
        raise ValueError("no estimator has both a reference and a variance; there is nothing to draw.")
    seen = [f.bias for f in shown if f.biased] or [1.0]
    strip = min(seen) / 8  # where those without a visible bias stand
    slowest = max(f.seconds for f in shown)
    markers = dict(zip(dict.fromkeys(f.bound for f in findings), "os^Dvp", strict=False))
    axis.set(xscale="log", yscale="log", ylabel="variance of one gradient, relative to the exact one's squared length")
    for finding in shown:
        colour = "#c2410c" if finding.biased else "#0f766e"
        at = (finding.bias if finding.biased else strip, finding.variance)
        marker = markers.get(finding.bound, "o")
        axis.scatter(*at, s=20 + 500 * finding.seconds / slowest, color=colour, alpha=0.25, linewidths=0, marker=marker)
        axis.scatter(*at, s=10, color=colour, marker=marker)
    for bound in dict.fromkeys(f.bound for f in shown):
        axis.scatter([], [], color="#555555", marker=markers.get(bound, "o"), s=20, label=bound)
    axis.legend(frameon=False, fontsize=8, loc="lower right", title="bound", title_fontsize=8)
    axis.axvline(strip * 3, color="#bbbbbb", linestyle=":", linewidth=1)
    axis.set_xlim(strip / 2, max(seen) * 12)
    axis.set_xlabel("no bias seen   |   bias, relative to the exact gradient's length", loc="left")
    axis.set_title(f"Gradient of {part} parameters; area: time of one gradient", fontsize=10, loc="left")
    axis.margins(y=0.1)
    axis.spines[["top", "right"]].set_visible(False)
    axis.get_figure().canvas.draw()  # so that the scales are settled
    ticks = [tick for tick in axis.get_xticks() if tick > strip * 3]
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    _label(axis, [(f.name, f.bias if f.biased else strip, f.variance) for f in shown])


def _label(axis: Any, points: list[tuple[str, float, float]]) -> None:
    """Names to the right of points, which come from low to high; each is moved up until it meets no other."""
    inverse = axis.transAxes.inverted()
    placed: list[tuple[float, float]] = []
    for name, *at in points:
        x, y = inverse.transform(axis.transData.transform(at))
        height = y
        while any(abs(x - other_x) < 0.33 and abs(height - other) < 0.027 for other_x, other in placed):
            height += 0.003
        placed.append((x, height))
        axis.plot([x, x + 0.035], [y, height], color="#999999", linewidth=0.5, transform=axis.transAxes)
        axis.text(x + 0.04, height, name, transform=axis.transAxes, va="center", ha="left", fontsize=7)


def check_figure(path: str | Path) -> None:
    """Refuses early what `Lab.figure` could not write."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError as error:
        raise ImportError("the figure needs matplotlib: pip install matplotlib") from error
    kinds = FigureCanvasAgg.get_supported_filetypes()
    if Path(path).suffix.lstrip(".").lower() not in kinds:
        raise ValueError(
            f"{argument('figure')} is {str(path)!r}; its name must end in one of {', '.join(sorted(kinds))}."
        )


def _fresh(path: str | Path) -> Path:
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists already, and nothing is overwritten. Choose another name, or remove it.")
    return path
