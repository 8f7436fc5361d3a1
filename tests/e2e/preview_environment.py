"""A Python of the version that azure-functions-durable 2.x needs, with that SDK and this Perdure: made once for all tests."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

VERSION = "3.13"
_ROOT = Path(__file__).parents[2]


def find_python() -> str | None:
    """On the path, or among those of pyenv."""
    return next((python for python in _candidates() if _runs(python)), None)


def _candidates() -> Iterator[str]:
    on_path = shutil.which(f"python{VERSION}")
    if on_path is not None:
        yield on_path
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for folder in sorted(pyenv.glob(f"versions/{VERSION}*"), reverse=True):
        yield str(folder / "bin" / "python")


def _runs(python: str) -> bool:
    # One on the path may be a shim that only says that it isn't the chosen version.
    said = "import sys, ensurepip; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", said], capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() == VERSION


def make_environment(factory: pytest.TempPathFactory) -> Path:
    """The Python of the environment. Tests that run side by side share it."""
    python = find_python()
    if python is None:
        pytest.skip(f"needs Python {VERSION}, on the path or among those of pyenv")
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    made = shared / "azure-preview-environment"
    with (shared / "azure-preview-environment.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made / "complete").exists():
            _make(python, made)
            (made / "complete").touch()
    return made / "bin" / "python"


def _make(python: str, folder: Path) -> None:
    _run(python, "-m", "venv", "--clear", str(folder))
    install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run(*install, "--require-hashes", "-r", str(_ROOT / "requirements" / "azure-preview.txt"))
    _run(*install, "--no-deps", "--no-build-isolation", "-e", str(_ROOT))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"
