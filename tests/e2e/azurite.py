"""A real Azure Storage queue service on this machine: Azurite, installed once into pytest's cache folder."""

import re
import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

_VERSION = "3.36.0"
_LISTENING = re.compile(r"Queue service successfully listens on (http://\S+)")
_ACCOUNT = "devstoreaccount1"
# The key that every storage emulator has.
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def connection_string(origin: str) -> str:
    """For the service at ``origin``."""
    return f"DefaultEndpointsProtocol=http;AccountName={_ACCOUNT};AccountKey={_KEY};QueueEndpoint={origin}/{_ACCOUNT};"


def _install(folder: Path) -> Path:
    script = folder / "node_modules" / "azurite" / "dist" / "src" / "queue" / "main.js"
    if not script.exists():
        subprocess.run(
            ["npm", "install", f"azurite@{_VERSION}", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder)],
            check=True,
            capture_output=True,
            timeout=110,
        )
    return script


@pytest.fixture(scope="session")
def azurite(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """The service's connection string."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("npm is missing, which installs Azurite")
    cache = request.config.cache
    assert cache is not None
    script = _install(cache.mkdir("azurite"))
    command = ["node", str(script), "--queueHost", "127.0.0.1", "--queuePort", "0", "--disableTelemetry", "--location"]
    process = subprocess.Popen([*command, str(tmp_path_factory.mktemp("azurite"))], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if found := _LISTENING.search(line):
                yield connection_string(found.group(1))
                return
        raise AssertionError("Azurite has ended")
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()
