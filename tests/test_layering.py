"""The checks that keep the layers apart do refuse what they are there to refuse."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def ruff_rules_broken(path: str, code: str) -> set[str]:
    """The import and call bans that ``code`` breaks, were it the file ``path`` of this project."""
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "ruff",
            "check",
            "--select",
            "TID251",
            "--output-format",
            "concise",
            "--stdin-filename",
            path,
            "-",
        ],
        input=code,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode in (0, 1), run.stderr
    return {line.split()[1] for line in run.stdout.splitlines() if line.startswith(path)}


@pytest.mark.parametrize(
    "code",
    [
        "import time\n",
        "import random\n",
        "import asyncio\n",
        "import threading\n",
        "from os import urandom\n",
        "import datetime\n\nnow = datetime.datetime.now()\n",
        "from datetime import datetime\n\nnow = datetime.now()\n",
        "from uuid import uuid4\n\nnew_id = uuid4()\n",
    ],
)
def test_core_may_not_read_clock_luck_or_machine(code: str) -> None:
    assert ruff_rules_broken("src/perdure/core/planted.py", code) == {"TID251"}
    assert ruff_rules_broken("src/perdure/core/deeper/planted.py", code) == {"TID251"}
    assert ruff_rules_broken("src/perdure/engine/planted.py", code) == set()


@pytest.mark.parametrize(
    ("planted", "code", "broken"),
    [
        ("core/planted.py", "def f() -> None:\n    import asyncio\n", "core is pure"),
        ("core/planted.py", "import perdure.store.errors\n", "Layers"),
        ("store/planted.py", "import perdure.engine\n", "Layers"),
        ("store/planted.py", "import perdure.core.semantics\n", "Stores know history as bytes"),
        ("engine/planted.py", "import perdure.store.driver\n", "The engine knows stores only through the contract"),
        ("client/planted.py", "import perdure.app\n", "Layers"),
        ("hub.py", "import perdure.testing\n", "Nothing imports perdure.testing"),
        ("__init__.py", "import perdure.testing\n", "Nothing imports perdure.testing"),
        ("undeclared/__init__.py", "", "Layers"),
    ],
)
def test_a_forbidden_import_breaks_its_contract(tmp_path: Path, planted: str, code: str, broken: str) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    package = tmp_path / "perdure"
    shutil.copytree(ROOT / "src" / "perdure", package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "core" / "semantics.py").touch()
    (package / "store" / "driver.py").touch()
    file = package / planted
    file.parent.mkdir(exist_ok=True)
    file.write_text(code)

    # -c puts the current directory, the copy, in front of the installed package.
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
            "--no-logo",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 1, run.stdout + run.stderr
    assert re.search(rf"^{re.escape(broken)}.* BROKEN", run.stdout, re.MULTILINE), run.stdout + run.stderr
