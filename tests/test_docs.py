"""The docs say what was measured: their tables are those that the results make."""

import re
from pathlib import Path

import pytest

from scripts import tables

ROOT = Path(__file__).resolve().parent.parent


def test_the_tables_of_the_estimators_page_are_generated_from_the_results():
    page = tables.PAGE.read_text()
    assert tables.filled(page) == page, "run `make tables`"
    assert tables.filled(page.replace("| ", "|", 40)) == page


@pytest.mark.parametrize(
    "page", ["README.md", "docs/estimators.md", "docs/tutorial.md", "docs/design.md", "CONTRIBUTING.md"]
)
def test_what_a_page_links_to_is_there(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / page).read_text()):
        assert (ROOT / page).parent.joinpath(target).exists(), target
    assert "-->\n<!-- end" not in (ROOT / page).read_text()
