"""The package as a whole: no side effects on import, a public list, no import of what is heavy."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.version import Version

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
from reparam import *
print(json.dumps([before, [str(value) for value in state()], [m for m in ("matplotlib", "tyro", "scipy", "zuko") if m in sys.modules]]))
"""


# what takes time to import; a name of the package may need one of them, the package may not
SLOW = "[m for m in ('torch', 'numpy', 'rich', 'tyro', 'PIL', 'jaxtyping', 'lightning_fabric') if m in sys.modules]"


def python(code):
    """What a fresh interpreter prints, with every warning an error."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_the_package_imports_nothing_slow():
    assert python(f"import sys, reparam; dir(reparam), reparam.__version__; print({SLOW})") == "[]"


def test_a_name_is_imported_on_its_first_use():
    assert python("import sys, reparam; reparam.Gaussian; print('torch' in sys.modules)") == "True"
    assert python("from reparam import Gaussian as G; import reparam; print(reparam.Gaussian is G)") == "True"


def test_a_name_that_does_not_exist_is_refused():
    name = "gaussian"
    with pytest.raises(AttributeError, match=name):
        getattr(rp, name)
    assert python(f"try: from reparam import {name}\nexcept ImportError as error: print(error)").startswith("cannot")


# every file first, then every name: a file of the same name as an object must not hide it
SHADOWS = """
import pkgutil, types, reparam
for found in pkgutil.walk_packages(reparam.__path__, "reparam."):
    if found.name != "reparam.cli":
        __import__(found.name)
print(*sorted(name for name in dir(reparam) if isinstance(getattr(reparam, name), types.ModuleType)))
"""


def test_only_two_public_names_are_modules_whatever_was_imported_first():
    assert python(SHADOWS) == "distributions surrogates"


def test_import_changes_nothing_and_loads_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", STATE], capture_output=True, text=True, check=True)
    before, after, heavy = json.loads(done.stdout)
    assert before == after
    assert heavy == []


def test_every_public_name_is_documented():
    for name in dir(rp):
        if not name.startswith("_"):
            assert getattr(rp, name).__doc__, name


def floors(lines):
    """The oldest version of each dependency that lines such as `name>=1.2` or `name==1.2  # why` ask for."""
    found = (re.match(r"([\w.-]+)[=>]=([\w.]+)", line) for line in lines)
    return {each[1].lower().replace("_", "-"): each[2] for each in found if each}


def test_the_oldest_versions_that_are_tested_are_those_that_are_claimed():
    root = Path(__file__).resolve().parent.parent
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    tried = [line for name, lines in extras.items() if name != "bench" for line in lines]
    claimed = floors([*project["dependencies"], *tried])
    tested = floors((root / "requirements-oldest.txt").read_text().splitlines())
    assert {name: Version(tested[name]) for name in claimed} == {name: Version(claimed[name]) for name in claimed}
    pinned = floors((root / "requirements.txt").read_text().splitlines())
    assert all(Version(claimed[name]) <= Version(pinned.get(name, claimed[name])) for name in claimed)
