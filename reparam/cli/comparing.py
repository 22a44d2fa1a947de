"""`reparam compare RUN...`: runs on the same data, side by side."""

from __future__ import annotations

import csv as csv_format
import io
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tyro

from reparam._files import write_whole
from reparam._printable import printable
from reparam.cli.folders import command, existing, unused_file
from reparam.cli.records import Bounds, Kind, Known, known, order
from reparam.cli.show import measured, print_json, print_table, say, seconds, width

_Entry = tuple[Known, Bounds]


def compare(runs: tyro.conf.Positional[tuple[Path, ...]], json: bool = False, csv: Path | None = None) -> None:
    """Puts runs side by side: what was trained, for how long, and the bounds that were reached, in nats per example.

    Numbers of different data, of the same data under different protocols, and of different kinds (a probability, a
    density) are no comparison: each has a table of its own. The exact bounds are those of the test data and of
    `reparam evaluate`, for the weights measured at the end of the training, with their standard errors. The training
    bound is that of the last epoch, by its name. A folder that holds no run is named and left out.

    Args:
        runs: Folders of runs.
        json: Print one JSON object.
        csv: File to write every number to.
    """
    if csv is not None:
        unused_file("csv", csv)
    found, left_out = _known(runs)
    groups, unmeasured = _grouped(found)
    if csv is not None:
        _write_csv(csv, groups, unmeasured)
    if json:
        print_json({"groups": _sections(groups, unmeasured), "left_out": left_out})
        return
    for number, (kind, group) in enumerate(groups.items()):
        if number:
            print()
        _print(kind, group)
    _print_unmeasured(unmeasured)
    if len(groups) > 1:
        densities = {kind.measure.startswith("density") for kind in groups}
        kinds = " Nor can probabilities and densities." if len(densities) > 1 else ""
        print()
        _wrapped(f"{len(groups)} tables: numbers of different data or protocols cannot be compared.{kinds}", indent="")
    if csv is not None:
        say(f"wrote {csv}")


def _known(runs: Sequence[Path]) -> tuple[list[Known], list[dict[str, str]]]:
    """What is known of the runs, and the folders that hold none, which are named on standard error."""
    found: list[Known] = []
    errors: list[tuple[Path, Exception]] = []
    for run in runs:
        try:
            found.append(known(existing(run)))
        except (OSError, ValueError) as error:
            errors.append((run, error))
    if not found and len(errors) > 1:
        raise FileNotFoundError(
            f"none of {', '.join(str(run) for run, _ in errors)} holds a run. Name folders of runs."
        )
    if not found:
        raise errors[0][1]
    for run, why in errors:
        say(f"reparam: {run} is left out: {why}", sys.stderr)
    return found, [{"run": str(run), "why": str(why)} for run, why in errors]


def _grouped(found: Sequence[Known]) -> tuple[dict[Kind, list[_Entry]], list[Known]]:
    """The runs by the kind of their numbers, and those of which no number is known.

    A run that was measured on several data stands in several groups; but where it is alone in a group, only if it was
    measured on that first.
    """
    groups: dict[Kind, list[_Entry]] = {}
    for each in found:
        for kind, measured_ in each.measured.items():
            groups.setdefault(kind, []).append((each, measured_.bounds))
    kept = {kind: group for kind, group in groups.items() if len(group) > 1 or next(iter(group[0][0].measured)) == kind}
    return kept, [each for each in found if not each.measured]


def _sections(groups: dict[Kind, list[_Entry]], unmeasured: Sequence[Known]) -> list[dict[str, Any]]:
    sections = [
        {
            "protocol": kind.protocol,
            "test_checksum": kind.checksum,
            "measure": kind.measure,
            "runs": [each.to_values(bounds) for each, bounds in group],
        }
        for kind, group in groups.items()
    ]
    alone = {
        "protocol": None,
        "test_checksum": None,
        "measure": None,
        "runs": [each.to_values({}) for each in unmeasured],
    }
    return [*sections, alone] if unmeasured else sections


def _print(kind: Kind, group: Sequence[_Entry]) -> None:
    first = group[0][0].measured[kind]
    names = sorted({name for _, bounds in group for name in bounds if name != "iwae_1"}, key=order)
    rows = [
        (str(each.run), *(measured(bounds[name]) if name in bounds else "" for name in names)) for each, bounds in group
    ]
    what = f"{first.data}, {kind.protocol}, {first.part} data {_short(kind.checksum)}"
    _wrapped(f"{what}: {kind.measure}, in nats per example", indent="")
    print_table(("run", *(f"exact {name}" for name in names)), rows, width=width())
    _print_differences([each for each, _ in group])


def _print_unmeasured(runs: Sequence[Known]) -> None:
    for finished, words in (
        (False, "not finished: nothing measured yet"),
        (True, "finished, and not measured on test data"),
    ):
        group = [each for each in runs if each.finished is finished]
        if group:
            print(f"\n{words}")
            _print_differences(group)
            if finished:
                _wrapped(f"Measure them on data that you name: {command('evaluate', group[0].run)} --data NAME")


def _print_differences(group: Sequence[Known]) -> None:
    """What all runs have in common, then of each run what it has not."""
    names = list(dict.fromkeys(name for each in group for name in each.about))
    common = {name for name in names if len(group) > 1 and len({each.about.get(name) for each in group}) == 1}
    told = {name: name.replace("_", "-") for name in names if name != "trained on"}
    shared = [f"{word} {group[0].about[name]}" for name, word in told.items() if name in common]
    if shared:
        _wrapped(f"in all: {', '.join(shared)}")
    for each in group:
        own = [f"{word} {each.about[name]}" for name, word in told.items() if name in each.about and name not in common]
        if "trained on" in each.about and "trained on" not in common and len(group) > 1:
            own.append(f"trained on {_short(each.about['trained on'])}")
        _wrapped(f"{each.run}: {', '.join([*own, *_progress(each)])}")


def _progress(each: Known) -> list[str]:
    """How far a run is, how long it took, and its training bound."""
    parts = [] if each.finished else ["not finished"]
    parts += [f"{each.epochs} epoch{'' if each.epochs == 1 else 's'}"] if each.epochs is not None else []
    parts += [seconds(each.seconds)] if each.seconds is not None else []
    if each.train.get("value") is not None:
        parts.append(f"training {each.train['bound']} {each.train['value']:.2f}")
    return parts


def _wrapped(text: str, indent: str = "    ") -> None:
    text = printable(text)
    lines = textwrap.wrap(text, width(), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    print("\n".join(lines))


def _write_csv(path: Path, groups: dict[Kind, list[_Entry]], unmeasured: Sequence[Known]) -> None:
    """Every number, one line a run and kind of numbers."""
    rows = []
    entries = [(kind, *entry) for kind, group in groups.items() for entry in group]
    for kind, each, bounds in [*entries, *((Kind(each.protocol, None, ""), each, {}) for each in unmeasured)]:
        row = {**each.to_values({}), **asdict(kind), "trained_on": each.about.get("trained on")}
        row = {name: value for name, value in row.items() if name not in ("test", "best_validation")}
        best = each.best_validation or {}
        row |= {f"best_validation_{name}": best.get(name) for name in ("bound", "value", "epoch")}
        for bound, measurement in bounds.items():
            row |= {f"test_{bound}": measurement["value"], f"test_{bound}_error": measurement["standard_error"]}
        rows.append(row)
    text = io.StringIO()
    writer = csv_format.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue().encode())


def _short(checksum: str | None) -> str:
    return "unknown" if checksum is None else checksum.partition(":")[2][:8]
