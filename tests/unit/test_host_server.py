"""``FunctionsHost`` in this process: what makes it end, and what keeps it from starting."""

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

import perdure as df
from perdure.host.listening import AddressInUseError
from perdure.host.server import FunctionsHost
from perdure.host.settings import HostSettings
from perdure.store.memory import MemoryStore
from tests.unit.host_lab import http, loaded


def host(folder: Path, *functions: Any, app: df.DFApp | None = None, **settings: Any) -> FunctionsHost:
    options = HostSettings(folder=folder, store="memory://", keys_file=folder / "keys.json", **{"port": 0, **settings})
    return FunctionsHost(loaded(folder, *functions, app=app), options)


async def begun(host: FunctionsHost) -> tuple[asyncio.Task[None], str]:
    """A host that answers, and its URL."""
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.get_running_loop().create_task(host.serve(listening=listening.set_result))
    await asyncio.wait((serving, listening), return_when=asyncio.FIRST_COMPLETED)
    return serving, listening.result()


async def test_it_listens_on_this_machine_only_and_ends_when_told(tmp_path: Path) -> None:
    def hello(req: Any) -> str:
        return "hello"

    served = host(tmp_path, http(hello))
    serving, url = await begun(served)
    assert url.startswith("http://127.0.0.1:")
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{url}/api/hello")).text == "hello"
    served.stop()
    await serving
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"{url}/api/hello")


async def test_told_twice_it_does_not_wait_for_open_requests(tmp_path: Path) -> None:
    began = asyncio.Event()

    async def endless(req: Any) -> str:
        began.set()
        await asyncio.Event().wait()
        return ""

    served = host(tmp_path, http(endless))
    serving, url = await begun(served)
    async with httpx.AsyncClient() as client:
        asking = asyncio.get_running_loop().create_task(client.get(f"{url}/api/endless", timeout=60))
        await began.wait()
        served.stop()
        served.stop()
        await serving
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def test_a_port_that_is_taken_keeps_it_from_starting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressInUseError, match=f"port {port}: Address already in use.*--port {port + 1}"):
            await host(tmp_path, port=port).serve()


async def test_an_address_of_another_machine_keeps_it_from_starting(tmp_path: Path) -> None:
    with pytest.raises(AddressInUseError, match=r"can't listen on 192\.0\.2\.1, port 0: .* --host"):
        await host(tmp_path, host="192.0.2.1").serve()


class Broken(MemoryStore):
    """A store with a bug."""

    async def commit(self, *arguments: Any, **options: Any) -> Sequence[Any]:
        raise RuntimeError("bug in the store")


async def test_it_ends_with_an_error_when_its_hub_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.hub.open_store", lambda url: Broken())
    app = df.DFApp()

    @app.orchestration_trigger(context_name="context")
    def nothing(context: df.DurableOrchestrationContext) -> None: ...

    async def start(req: Any, client: Any) -> str:
        return await client.start_new("nothing")

    serving, url = await begun(host(tmp_path, http(start, client="perdure"), app=app))
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{url}/api/start")).status_code == 503
    with pytest.raises(df.EngineStoppedError, match="its hub has stopped: bug in the store"):
        await serving
