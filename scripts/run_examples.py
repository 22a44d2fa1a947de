"""Trains the four examples one after the other and closes with a table: `make run`.

Options are handed on to every script, for example `python scripts/run_examples.py --epochs 2 --seed 3`.
"""

import re
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ("vae.py", "gaussian_vae.py", "binconcrete.py", "concrete.py")
LINES = {
    "train": re.compile(r"====> Epoch: \d+ Average loss: (\S+)"),
    "test": re.compile(r"====> Test set loss: (\S+)"),
    "exact bound": re.compile(r"====> Test exact bound: (.+)"),
}


def run(script: str, options: list[str]) -> dict[str, str]:
    """Runs one example, shows its lines as they come, and returns the last figure of each kind."""
    print(f"\n$ python {script} {' '.join(options)}".rstrip(), flush=True)
    started = time.perf_counter()
    figures: dict[str, str] = {}
    command = [sys.executable, script, *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            figures |= {kind: found[1].strip() for kind, pattern in LINES.items() if (found := pattern.match(line))}
    if process.returncode:
        figures["exact bound"] = f"failed, exit {process.returncode}"
    return figures | {"seconds": f"{time.perf_counter() - started:.1f}"}


def main() -> None:
    table = Table(title="nats per image of grey MNIST, lower is better; the exact bound is that of the model itself")
    columns = [*LINES, "seconds"]
    for column in ("script", *columns):
        table.add_column(column, justify="left" if column == "script" else "right")
    results = {script: run(script, sys.argv[1:]) for script in SCRIPTS}
    for script, figures in results.items():
        table.add_row(script, *(figures.get(column, "") for column in columns))
    print()
    Console(width=None if sys.stdout.isatty() else 100).print(table)
    print("Pictures are in results/. The losses of binconcrete.py and concrete.py are surrogates: see the README.")
    sys.exit(any("failed" in figures.get("exact bound", "") for figures in results.values()))


if __name__ == "__main__":
    main()
