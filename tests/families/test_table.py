from __future__ import annotations

from pathlib import Path

from lisa.families.base import FAMILIES
from lisa.families.table import markdown

PAGE = Path(__file__).resolve().parents[2] / "docs" / "families.md"


def test_the_page_holds_the_table_that_the_code_makes():
    table = markdown()
    assert len(table.splitlines()) == len(FAMILIES.names()) + 2
    assert table in PAGE.read_text(encoding="utf-8"), "python -m lisa info --markdown prints the new table"
