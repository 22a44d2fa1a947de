"""The docs say what was measured: their tables are those that the results make."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from scripts import tables

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("path", tables.PAGES, ids=lambda path: path.stem)
def test_the_tables_of_a_page_are_generated_from_the_results(path):
    page = path.read_text()
    assert tables.filled(path, page) == page, "run `make tables`"
    assert tables.filled(path, page.replace("| ", "|", 40)) == page


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/data.md",
        "docs/runs.md",
        "docs/estimators.md",
        "docs/evaluation.md",
        "docs/latents.md",
        "docs/scaling.md",
        "docs/tutorial.md",
        "docs/design.md",
        "CONTRIBUTING.md",
    ],
)
def test_what_a_page_links_to_is_there(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / page).read_text()):
        assert (ROOT / page).parent.joinpath(target).exists(), target
    assert "-->\n<!-- end" not in (ROOT / page).read_text()


def test_what_the_page_on_data_shows_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPARAM_DATA", str(tmp_path / "cache"))
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "docs/data.md").read_text(), re.DOTALL)
    assert len(snippets) == 10
    scope: dict[str, object] = {}
    for snippet in snippets:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(snippet, scope)
        for shown in re.findall(r"print\(.*\)  # (.*)", snippet):
            assert printed.getvalue().strip() == shown
