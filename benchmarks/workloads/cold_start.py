"""``perdure start`` on a new app: from the start of the process to its first answer, and what is imported on the way."""

import asyncio
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from benchmarks.hosts import cpu_seconds_of, host_of
from benchmarks.hubs import Parameters
from benchmarks.measuring import Measurement
from benchmarks.workers.http_load import Connection

_STARTS = 5
_BODY = b'{"item": "lamp", "quantity": 2}'
_IMPORT = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")
_PACKAGES = ("perdure", "azure", "werkzeug", "starlette", "anyio", "uvicorn", "httptools", "click", "typer", "msgspec")
_WHAT_START_IMPORTS = (
    "import perdure.cli.main, perdure.host.configuration, perdure.cli.serving, perdure.store.sqlite, uvicorn.protocols.http.auto"
)


def cases(*, short: bool) -> list[Parameters]:
    """The app is what ``perdure new`` makes."""
    del short
    return [{"template": "chaining"}]


async def run(parameters: Parameters, directory: Path) -> list[Measurement]:
    """Each start has a hub and keys to make; the first one, which may have to compile modules, isn't counted."""
    app = directory / "hello"
    made = [sys.executable, "-m", "perdure.cli", "new", str(app), "--template", parameters["template"]]
    await asyncio.to_thread(subprocess.run, made, check=True, stdout=subprocess.DEVNULL)
    taken: list[float] = []
    cpu: list[float] = []
    for number in range(_STARTS + 1):
        place = directory / str(number)
        place.mkdir()
        begun = time.perf_counter()
        async with host_of(app, place) as host:
            connection = await Connection.open(host.port)
            status, answer = await connection.request("POST", "/api/orders", _BODY)
            if status != 202:
                raise RuntimeError(f"the host answered {status}: {answer.decode()}")
            taken.append(time.perf_counter() - begun)
            cpu.append(cpu_seconds_of(host.pid))
            connection.close()
    imports = await asyncio.to_thread(_imports)
    extra = {f"import_ms_{package}": us / 1e3 for package, us in imports.items()}
    seconds = statistics.median(taken[1:])
    return [Measurement("start", 1, seconds, statistics.median(cpu[1:]), extra=extra)]


def _imports() -> dict[str, float]:
    """Microseconds by package, the best of three. Measuring itself adds about a tenth."""
    command = [sys.executable, "-X", "importtime", "-c", _WHAT_START_IMPORTS]
    rounds: list[Counter[str]] = []
    for _ in range(3):
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        spent: Counter[str] = Counter()
        for microseconds, module in _IMPORT.findall(done.stderr):
            package = module.partition(".")[0]
            spent[package if package in _PACKAGES else "others"] += int(microseconds)
        rounds.append(spent)
    return dict(min(rounds, key=lambda spent: spent.total()))
