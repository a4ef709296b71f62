"""The site's pages: every page has its place in the navigation, and the reference has every public name."""

from __future__ import annotations

import re
from pathlib import Path

import zobench

ROOT = Path(__file__).parent.parent


def test_every_page_has_its_place_in_the_navigation():
    nav = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.M)
    pages = [f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")]
    pages += [path.name for path in ROOT.glob("*.md")]
    assert sorted(nav) == sorted([*pages, "results/README.md"])


def test_the_reference_has_every_public_name_once():
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^::: zobench\.(\w+)$", page, re.M)) == sorted(zobench.__all__)


def test_the_reference_is_ordered_as_the_table_of_the_guide():
    guide = (ROOT / "docs" / "library.md").read_text(encoding="utf-8").partition("## Public names")[2]
    kinds = [row.split("|")[1].strip() for row in guide.splitlines() if row.startswith("|")][2:]
    headings = re.findall(r"^## (.+)$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.M)
    assert [heading.lower() for heading in headings] == [kind.lower() for kind in kinds]
