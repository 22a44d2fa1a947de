"""The docs say what was measured: their tables are those that the results make."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))


def test_the_tables_of_the_estimators_page_are_generated_from_the_results():
    import tables

    page = tables.PAGE.read_text()
    assert tables.filled(page) == page, "run `make tables`"
    assert tables.filled(page.replace("| ", "|", 40)) == page
