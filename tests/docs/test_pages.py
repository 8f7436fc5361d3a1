"""What the documentation tool would say about links and navigation, and more, without the tool."""

import ast
import re
from pathlib import Path

import pytest

from tests.docs import pages


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in pages.links(page):
        assert not re.match(r"[a-z]+:", link), f"{link}: the documentation is complete without the network"
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), f"{link} leads nowhere"
        assert pages.DOCS in target.parents, f"{link} leads out of the documentation, where the built site can't follow"
        assert not anchor or anchor in pages.anchors(target), f"{link}: there is no such heading"


def test_navigation_has_every_page_once() -> None:
    entries = pages.navigation()
    assert sorted(entries) == sorted(pages.name_of(page) for page in pages.PAGES)


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name_of)
def test_every_page_begins_with_its_only_title(page: Path) -> None:
    lines = pages.prose(page).splitlines()
    assert lines[0].startswith("# ")
    assert [line for line in lines if line.startswith("# ")] == lines[:1]


def test_the_index_of_decisions_names_each_one_and_each_has_the_same_parts() -> None:
    records = sorted((pages.DOCS / "decisions").glob("0*.md"))
    numbers = [record.name[:4] for record in records]
    assert numbers == [f"{number:04}" for number in range(1, len(records) + 1)], "numbers are given out once, without holes"
    index = pages.links(pages.DOCS / "decisions" / "README.md")
    assert index == [record.name for record in records]
    for record in records:
        text = record.read_text(encoding="utf-8").lower()
        for part in ("## context", "## options", "## decision", "## consequences", "reverse"):
            assert part in text, f"{record.name} lacks '{part}'"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_every_link_of_the_files_beside_the_documentation_leads_somewhere(name: str) -> None:
    links = [link for link in pages.links(pages.ROOT / name) if not link.startswith("https://")]
    assert [link for link in links if not (pages.ROOT / link.partition("#")[0]).exists()] == []


def test_the_guesses_of_the_contributing_guide_exist() -> None:
    rows = re.findall(
        r"^\| (.+) \| `(\S+\.\w+)` \| `(\S+\.\w+)` \|$",
        (pages.ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert len(rows) > 20
    package = pages.ROOT / "src" / "perdure"
    assert [guess for _, *guesses in rows for guess in guesses if not (package / guess).is_file()] == []


_PLACE = re.compile(r"`([\w/]+\.py): ([\w.]+)`")


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name_of)
def test_every_place_in_the_code_that_a_page_names_exists(page: Path) -> None:
    for file, name in _PLACE.findall(page.read_text(encoding="utf-8")):
        nodes: list[ast.AST] = [ast.parse((pages.ROOT / "src" / "perdure" / file).read_text(encoding="utf-8"))]
        for part in name.split("."):
            bodies = [child for node in nodes for child in getattr(node, "body", [])]
            nodes = [child for child in bodies if getattr(child, "name", None) == part]
            assert nodes, f"{file} has no {name}"


def test_the_way_of_a_message_has_ten_hops() -> None:
    text = (pages.DOCS / "explanation" / "architecture.md").read_text(encoding="utf-8")
    hops = re.findall(r"^(\d+)\. (.*(?:\n +.*)*)", text, re.MULTILINE)
    assert [int(number) for number, _ in hops] == list(range(1, 11))
    assert all(_PLACE.search(hop) for _, hop in hops)
