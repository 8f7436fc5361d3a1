"""Every Python block of the README runs as it stands, and prints what the text block after it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<output>.*?)^```\n)?", re.MULTILINE | re.DOTALL)
BLOCKS = list(_BLOCK.finditer(README))


def test_the_readme_has_a_quick_start() -> None:
    assert BLOCKS
    assert BLOCKS[0]["output"]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"line-{README.count(chr(10), 0, block.start()) + 1}")
def test_block_runs_and_prints_what_is_promised(block: re.Match[str], tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(block["code"], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    if block["output"] is not None:
        assert done.stdout == block["output"]


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(((?!https?://)[^)#]+)\)", README))))
def test_link_leads_somewhere(target: str) -> None:
    assert (ROOT / target).exists()


def test_the_commands_exist() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    commands = re.findall(r"^make ([a-z-]+)", README, re.MULTILINE)
    assert {"demo", "test"} <= set(commands)
    assert set(commands) <= set(targets)
