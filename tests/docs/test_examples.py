"""The code in the documentation does what the documentation says.

The ``python`` blocks of a page are one program, in their order; what it prints stands in the page's ``output`` blocks. A block
below ``<!-- file: NAME -->`` is a file instead, and ``console`` blocks are what the reader types, with what comes back. A block
below ``<!-- no-run -->`` only has to be Python.
"""

import ast
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs import pages


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONWARNINGS": "error", "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=60, check=False
    )


def _program(page: Path) -> str:
    """The blocks at the very lines where they stand on the page, so that a traceback shows the page's lines."""
    lines: list[str] = []
    for block in pages.blocks(page):
        if block.language == "python" and block.runs and block.file is None:
            lines += [""] * (block.line - 1 - len(lines))
            lines += block.text.splitlines()
    return "\n".join(lines) + "\n" if lines else ""


@pytest.mark.parametrize("page", [page for page in pages.PAGES if _program(page)], ids=pages.name_of)
def test_the_program_of_a_page_prints_what_the_page_says(page: Path, tmp_path: Path) -> None:
    script = tmp_path / f"{page.stem.replace('-', '_')}.py"
    script.write_text(_program(page), encoding="utf-8")
    done = _run([sys.executable, script.name], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join(block.text for block in pages.blocks(page) if block.language == "output"), done.stderr


def _sessions(page: Path) -> list[pages.Block]:
    return [block for block in pages.blocks(page) if block.language == "console"]


@pytest.mark.parametrize("page", [page for page in pages.PAGES if _sessions(page)], ids=pages.name_of)
def test_what_a_page_lets_the_reader_type_gives_what_it_shows(page: Path, tmp_path: Path) -> None:
    for block in pages.blocks(page):
        if block.file is not None:
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "console":
            command, *expected = block.text.splitlines()
            prompt, program, *arguments = shlex.split(command)
            assert (prompt, program) == ("$", "python"), "one Python command per block, then what it prints"
            done = _run([sys.executable, *arguments], tmp_path)
            assert done.stdout.splitlines() == expected, done.stderr


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name_of)
def test_all_blocks_are_of_a_known_kind_and_all_python_is_python(page: Path) -> None:
    for block in pages.blocks(page):
        assert block.language in {"python", "output", "console", "sh", "text", "json", "sql", "yaml"}, f"line {block.line}"
        if block.language == "python":
            ast.parse(block.text)
