"""A line for each finished epoch, and a table at the end."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reparam._files import open_regular, read_object
from reparam.cli.folders import command
from reparam.cli.show import measured, print_json, print_table, say, seconds

if TYPE_CHECKING:
    from reparam.training import Epoch


class Lines:
    """Called after each epoch. The lines are read by people, so with `json` they go to standard error.

    Args:
        run: folder of the run.
        epochs: how many there are to be.
        json: whether standard output is kept for the answer.
        quiet: whether this process is one of several, and another one writes.
    """

    def __init__(self, run: Path, epochs: int, *, json: bool, quiet: bool) -> None:
        self.run = run
        self.epochs = epochs
        self.json = json
        self.quiet = quiet

    def say(self, text: str) -> None:
        """Prints a line."""
        if not self.quiet:
            say(text, sys.stderr if self.json else sys.stdout)

    def __call__(self, epoch: Epoch) -> None:
        if self.quiet:
            return
        from reparam.estimators.estimate import in_use

        parts = [f"epoch {epoch.number}/{self.epochs}", f"{epoch.name} {-epoch.loss:.2f}"]
        found = _last_validation(self.run, epoch.number)
        if found is not None:
            name = next(name for name in found if name.startswith("iwae_"))
            parts.append(f"validation elbo {measured(found['elbo'])}")
            parts += [f"{name} {measured(found[name])}"] if name != "iwae_1" else []
            parts += ["best so far"] if found["best"] else []
        parts += [f"{name} {value:.3g}" for name, value in in_use(epoch.estimator).items()]
        examples = read_object(self.run / "experiment.json")["data"].get("examples")
        parts += [f"{examples / epoch.seconds:,.0f} images/s"] if examples and epoch.seconds else []
        self.say("  ".join(parts))

    def end(self, summary: dict[str, Any]) -> None:
        """Prints what came of it, and what to type next."""
        if self.quiet:
            return
        if self.json:
            print_json({"run": str(self.run), **summary})
            return
        train, best, test = summary["train"], summary["best"], summary["test"]
        early = ", stopped early" if summary["stopped_early"] else ""
        rows = [
            ("trained", f"{summary['epochs']} epochs, {summary['steps']} steps, {seconds(summary['seconds'])}{early}"),
            (f"training, last epoch: {train['bound']}", f"{train['value']:.2f}"),
        ]
        if best is not None:
            rows.append((f"best validation: {best['bound']}", f"{best['value']:.2f} in epoch {best['epoch']}"))
        bounds = [name for name in test if name == "elbo" or (name.startswith("iwae_") and name != "iwae_1")]
        rows += [(f"test: {name}", measured(test[name])) for name in bounds]
        rows.append(("test: KL(q(z|x) || p(z))", measured(test["rate"])))
        print_table(("nats per example", str(self.run)), rows)
        say("Next:")
        for name in ("evaluate", "sample", "reconstruct", "traverse"):
            say(f"  {command(name, self.run)}")


def _last_validation(run: Path, epoch: int) -> dict[str, Any] | None:
    """The validation of this epoch, if there was one: then it is the last line of the metrics."""
    with open_regular(run / "metrics.jsonl") as metrics:
        metrics.seek(max(0, metrics.seek(0, 2) - 2**14))
        line = json.loads(metrics.read().splitlines()[-1])
    return line if line["kind"] == "validation" and line["epoch"] == epoch else None
