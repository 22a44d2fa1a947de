"""The package as a whole: no side effects on import, a public list, no import of what is heavy."""

import json
import subprocess
import sys

import reparam as rp

STATE = """
import json, logging, random, sys
import numpy as np, torch
from torch.distributions import Distribution
def state():
    return [torch.get_default_dtype(), torch.get_num_threads(), torch.initial_seed(), torch.get_rng_state().sum(),
            torch.get_float32_matmul_precision(), Distribution._validate_args, random.getstate()[1][0],
            np.random.get_state()[1][0], logging.getLogger().level, torch.is_grad_enabled()]
before = [str(value) for value in state()]
import reparam
print(json.dumps([before, [str(value) for value in state()], [m for m in ("matplotlib", "tyro", "scipy", "zuko") if m in sys.modules]]))
"""


def test_import_changes_nothing_and_loads_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", STATE], capture_output=True, text=True, check=True)
    before, after, heavy = json.loads(done.stdout)
    assert before == after
    assert heavy == []


def test_every_public_name_is_documented():
    # the hook that checks shapes in the tests leaves a name of its own
    for name in sorted(set(dir(rp)) - {"jaxtyping"}):
        if not name.startswith("_"):
            assert getattr(rp, name).__doc__, name
