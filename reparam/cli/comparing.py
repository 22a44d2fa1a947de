"""`reparam compare RUN...`: runs on the same data, side by side."""

from __future__ import annotations

import csv as csv_format
import io
from pathlib import Path
from typing import Any

import tyro

from reparam._files import read_object, write_whole
from reparam.cli.folders import EXPERIMENT, existing
from reparam.cli.show import measured, print_json, print_table, say, seconds
from reparam.experiment import Experiment

_DATA = ("protocol", "test_checksum")


def compare(runs: tyro.conf.Positional[tuple[Path, ...]], json: bool = False, csv: Path | None = None) -> None:
    """Puts runs side by side: what was trained, for how long, and the bounds that were reached, in nats per example.

    Numbers of different data, or of the same data under different protocols, are no comparison: each has a table of its
    own. The train bound is that of the last epoch, by its name; the exact bounds are those of the test data, with their
    standard errors.

    Args:
        runs: Folders of runs.
        json: Print one JSON object.
        csv: File to write every number to.
    """
    if not runs:
        raise ValueError("no run was named. Give folders of runs, such as runs/*.")
    found = [_described(existing(run)) for run in runs]
    if csv is not None:
        _write_csv(csv, found)
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for each in found:
        groups.setdefault(tuple(each[name] for name in _DATA), []).append(each)
    if json:
        sections = [{**dict(zip(_DATA, key, strict=True)), "runs": group} for key, group in groups.items()]
        print_json({"groups": sections})
        return
    for (protocol, test), group in groups.items():
        words = f"{group[0]['data'] or 'data'}, {protocol}, test data {_short(test)}"
        _print(words if test is not None else "not finished: nothing measured yet", group)
    if sum(test is not None for _, test in groups) > 1:
        say(f"{len(groups)} tables: numbers of different data or protocols cannot be compared.")
    if csv is not None:
        say(f"wrote {csv}")


def _described(run: Path) -> dict[str, Any]:
    """What is known of a run; of one that has not ended, no bounds. Nothing of this needs torch."""
    record = read_object(run / EXPERIMENT)
    summary = read_object(run / "summary.json") if (run / "summary.json").exists() else {}
    data, train, test = _object(record, "data"), _object(summary, "train"), _object(summary, "test")
    if "experiment" in record:
        try:
            found = Experiment.from_values(record["experiment"])
        except ValueError as error:
            raise ValueError(f"{run / EXPERIMENT}: {error}") from error
        model, latent, estimator, name = found.model, found.model.latent, found.training.estimator, found.dataset.data
        words = " ".join([model.network, *map(str, model.hidden)])
        words += "" if model.prior == "standard" else f", prior {model.prior}"
    else:  # from Python
        words, latent, name = str(record.get("model") or record.get("model_is")), None, None
        estimator = str(record.get("estimator") or record.get("estimator_is"))
    bounds = {name: value for name, value in test.items() if name == "elbo" or name.startswith("iwae_")}
    return {
        "run": str(run),
        "model": words,
        "latent": latent,
        "estimator": estimator,
        "data": name,
        "protocol": data.get("protocol"),
        "checksum": data.get("checksum"),
        "test_checksum": test.get("checksum"),
        "epochs": summary.get("epochs"),
        "seconds": summary.get("seconds"),
        "train_bound": train.get("bound"),
        "train_value": train.get("value"),
        "best_validation": summary.get("best"),
        "test": bounds,
    }


def _object(record: dict[str, Any], name: str) -> dict[str, Any]:
    found = record.get(name)
    return found if isinstance(found, dict) else {}


def _print(words: str, group: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for each in group for name in each["test"] if name != "iwae_1"))
    trained_on_others = len({each["checksum"] for each in group}) > 1
    rows = []
    for each in group:
        train = "" if each["train_value"] is None else f"{each['train_bound']} {each['train_value']:.2f}"
        rows.append(
            (
                *(str(each[name] or "") for name in ("run", "model", "latent", "estimator")),
                *([_short(each["checksum"])] if trained_on_others else []),
                "not finished" if each["epochs"] is None else str(each["epochs"]),
                "" if each["seconds"] is None else seconds(each["seconds"]),
                train,
                *(measured(each["test"][name]) if name in each["test"] else "" for name in names),
            )
        )
    others = ("trained on",) if trained_on_others else ()
    columns = ("run", "model", "latent", "estimator", *others, "epochs", "time", "train bound")
    print_table((*columns, *(f"exact {name}" for name in names)), rows, title=words)


def _write_csv(path: Path, found: list[dict[str, Any]]) -> None:
    """Every number, one line a run; data and protocol are columns of it."""
    if path.exists():
        raise FileExistsError(f"{path} exists already, and nothing is overwritten. Choose another name, or remove it.")
    rows = []
    for each in found:
        best = each["best_validation"] or {}
        row = {name: value for name, value in each.items() if name not in ("test", "best_validation")}
        row |= {f"best_validation_{name}": best.get(name) for name in ("bound", "value", "epoch")}
        for bound, measurement in each["test"].items():
            row |= {f"test_{bound}": measurement["value"], f"test_{bound}_error": measurement["standard_error"]}
        rows.append(row)
    text = io.StringIO()
    writer = csv_format.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue().encode())


def _short(checksum: str | None) -> str:
    return "unknown" if checksum is None else checksum.partition(":")[2][:8]
