"""Reads the documentation: pages, code blocks with what is said about them, links, anchors, navigation."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))

_FENCE = re.compile(r"^```(\S*)\s*$")
_MARK = re.compile(r"^<!-- (no-run|file: (\S+)) -->$")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$")
_NAV = re.compile(r"^ +- ([\w/.-]+\.md)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block. ``line`` is that of its first line of text."""

    language: str
    text: str
    line: int
    runs: bool = True
    file: str | None = None
    """Where a ``<!-- file: NAME -->`` above it says that the reader saves it."""


def name_of(page: Path) -> str:
    return page.relative_to(DOCS).as_posix()


def blocks(page: Path) -> list[Block]:
    found: list[Block] = []
    language: str | None = None
    start, lines, mark = 0, list[str](), ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if language is not None:
            if fence and not fence[1]:
                made = _MARK.match(mark)
                file = made[2] if made else None
                found.append(Block(language, "\n".join(lines) + "\n", start, not made or file is not None, file))
                language, mark = None, ""
            else:
                lines.append(line)
        elif fence:
            language, start, lines = fence[1], number + 1, []
        elif line.strip():
            mark = line
    assert language is None, f"{name_of(page)}: the block that begins at line {start} has no end"
    return found


def prose(page: Path) -> str:
    """The page without its code."""
    text = re.sub(r"^```.*?^```\s*$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "code", text)


def links(page: Path) -> list[str]:
    return _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """As the ``toc`` extension makes them."""
    headings = (_HEADING.match(line) for line in page.read_text(encoding="utf-8").splitlines())
    titles = (re.sub(r"[^\w\s-]", "", heading[1]).strip().lower() for heading in headings if heading)
    return {re.sub(r"[\s-]+", "-", title) for title in titles}


def navigation() -> list[str]:
    return _NAV.findall((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
