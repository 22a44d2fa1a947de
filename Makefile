# `make run` and `make test` need Python 3.11 or newer with pip, and nothing else.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test test-oldest pictures tables clean

run: .venv/run.done
	$(BIN)/python scripts/run_examples.py

# Tests run in one process per core, each with one thread: two threads a process on two cores wait for each other.
test: export OMP_NUM_THREADS := 1
test: .venv/test.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n auto --dist worksteal

# The same tests with the oldest versions that pyproject.toml claims, in an environment of their own.
test-oldest: export OMP_NUM_THREADS := 1
test-oldest: .venv-oldest/test.done
	.venv-oldest/bin/pytest -n auto --dist worksteal

pictures: .venv/test.done
	$(BIN)/python scripts/pictures.py

tables: .venv/test.done
	$(BIN)/python scripts/tables.py

.venv/run.done: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "reparam needs Python 3.11 or newer; this is " + sys.version)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check -q -r requirements.txt
	$(BIN)/pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	touch $@

.venv/test.done: .venv/run.done requirements-dev.txt
	$(BIN)/pip install --disable-pip-version-check -q -r requirements-dev.txt
	touch $@

.venv-oldest/test.done: requirements-oldest.txt pyproject.toml
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/pip install --disable-pip-version-check -q -r requirements-oldest.txt
	.venv-oldest/bin/pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	touch $@

clean:
	rm -rf .venv .venv-oldest results
