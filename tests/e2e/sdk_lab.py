"""What tests with Microsoft's Python SDK need: its clients and workers, unmodified, and servers to put them on."""

import asyncio
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from durabletask import client as sdk
from durabletask import worker as sdk_worker
from durabletask.testing import create_test_backend

import perdure as df
from perdure.protocol.hubs import StoredHubs
from perdure.protocol.nothing import NothingHere
from perdure.protocol.server import ProtocolServer
from perdure.protocol.settings import ProtocolSettings
from tests.e2e import sdk_programs as programs

SILENT = logging.getLogger("tests.durabletask")
SILENT.setLevel(logging.CRITICAL + 1)
Status = sdk.OrchestrationStatus
Client = sdk.TaskHubGrpcClient


@contextmanager
def worker_at(
    address: str,
    prepare: Callable[[Any], None] = programs.register,
    *,
    kind: Callable[..., Any] = sdk_worker.TaskHubGrpcWorker,
    **options: Any,
) -> Generator[Any]:
    """A worker that runs in threads of this process."""
    worker = kind(host_address=address, logger=SILENT, **options)
    prepare(worker)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()


@contextmanager
def client_at(address: str, *, kind: Callable[..., Any] = sdk.TaskHubGrpcClient, **options: Any) -> Generator[Any]:
    client = kind(host_address=address, logger=SILENT, **options)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def worker_process(address: str) -> Generator[subprocess.Popen[str]]:
    """A worker that can be killed, with all of ``sdk_programs``."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.sdk_programs", address],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline().startswith("ready")
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextmanager
def sdk_backend() -> Generator[str]:
    """The address of the SDK's own backend, in memory."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    backend = create_test_backend(port=port)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        backend.stop()


@contextmanager
def served_here(url: str = "memory://", *, remote: df.RemoteSettings | None = None, **settings: Any) -> Generator[str]:
    """The address of Perdure's server in a thread of this process, for settings that the command line doesn't have."""
    engine = df.EngineSettings(remote=remote or df.RemoteSettings())
    ready: list[Any] = []
    told = threading.Event()

    async def serve() -> None:
        hubs = StoredHubs(url, lambda place: df.TaskHub(NothingHere(), place, settings=engine), max_open=10)
        server = ProtocolServer(hubs, ProtocolSettings(port=0, **settings))
        await server.start()
        stop = asyncio.Event()
        ready.extend((server.address, asyncio.get_running_loop(), stop))
        told.set()
        await stop.wait()
        await server.stop()
        await hubs.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert told.wait(20)
    address, loop, stop = ready
    try:
        yield address
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
        assert not thread.is_alive()


def run(client: Any, name: str, input_: Any = None, **options: Any) -> Any:
    """The final state of a new instance."""
    return finished(client, client.schedule_new_orchestration(name, input=input_, **options))


def finished(client: Any, instance_id: str, timeout: float = 30) -> Any:
    """The final state of an instance."""
    state = client.wait_for_orchestration_completion(instance_id, timeout=timeout)
    assert state is not None
    return state


def until(holds: Callable[[], Any], seconds: float = 30) -> Any:
    """What ``holds`` returns as soon as it is something."""
    deadline = time.monotonic() + seconds
    while not (value := holds()):
        assert time.monotonic() < deadline, "it never happens"
        time.sleep(0.02)
    return value
