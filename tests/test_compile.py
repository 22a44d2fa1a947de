"""torch.compile without graph breaks."""

import subprocess
import sys
from pathlib import Path


def test_pitfall_11_distributions_and_estimators_compile_without_graph_breaks():
    script = Path(__file__).with_name("compiled.py")
    done = subprocess.run(
        [sys.executable, str(script)], cwd=script.parent.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "compiled"
