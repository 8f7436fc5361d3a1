"""A served app as its callers meet it, through crashes and ends of the host."""

import json
import re
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from tests.e2e.azurite import azurite
from tests.e2e.cli import Host, perdure, running

__all__ = ["azurite"]

T = TypeVar("T")
APP = """
import asyncio, logging, pathlib, time
from typing import Any
import azure.functions as func
import perdure as df

app = df.DFApp(http_auth_level=func.AuthLevel.FUNCTION)
LOG = pathlib.Path(__file__).parent / "log.txt"

def note(text: str) -> None:
    with LOG.open("a") as file:
        file.write(text + "\\n")

@app.route(route="start/{name}", methods=["POST"])
@app.durable_client_input(client_name="client")
async def start(req: func.HttpRequest, client) -> func.HttpResponse:
    instance_id = await client.start_new(req.route_params["name"], None, req.get_json())
    return client.create_check_status_response(req, instance_id)

@app.route(route="slow", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
def slow(req: func.HttpRequest) -> str:
    note("slow began")
    time.sleep(1)
    return "slow but sure"

@app.route(route="size", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
def size(req: func.HttpRequest) -> str:
    return str(len(req.get_body()))

@app.orchestration_trigger(context_name="context")
def steps(context):
    done = []
    for number in range(context.get_input()):
        done.append((yield context.call_activity("step", number)))
    return done

@app.activity_trigger(input_name="number")
async def step(number: int) -> int:
    note(f"step {number}")
    await asyncio.sleep(0.2)
    return number * number
"""
TIMER = """
@app.timer_trigger(schedule="*/1 * * * * *", arg_name="timer")
def tick(timer: func.TimerRequest) -> None:
    note(f"before {timer.schedule_status['Next']}")
"""
QUEUES = """
@app.queue_trigger(arg_name="msg", queue_name="work", connection="Storage")
@app.queue_output(arg_name="out", queue_name="done", connection="Storage")
@app.durable_client_input(client_name="client")
async def work(msg: func.QueueMessage, out: func.Out[str], client) -> None:
    instance_id = await client.start_new("steps", None, msg.get_json())
    status = await client.wait_for_completion(instance_id)
    out.set(str(status.output))

@app.route(route="enqueue", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@app.queue_output(arg_name="out", queue_name="work", connection="Storage")
def enqueue(req: func.HttpRequest, out: func.Out[str]) -> str:
    out.set(req.get_body().decode())
    return "queued"

@app.queue_trigger(arg_name="msg", queue_name="done", connection="Storage")
def done(msg: func.QueueMessage) -> None:
    note(f"done {msg.get_body().decode()}")
"""


def make(folder: Path, *more: str) -> Path:
    (folder / "function_app.py").write_text(APP + "".join(more))
    return folder


def function_key(folder: Path) -> str:
    return json.loads((folder / ".perdure" / "keys.json").read_text())["functionKeys"]["default"]


def notes(folder: Path) -> list[str]:
    log = folder / "log.txt"
    return log.read_text().splitlines() if log.exists() else []


def until(look: Callable[[], T | None], seconds: float = 30) -> T:
    """What ``look`` finds, as soon as it finds something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s")


def begin(url: str, folder: Path, count: int) -> Any:
    response = httpx.post(f"{url}/api/start/steps", json=count, headers={"x-functions-key": function_key(folder)})
    assert response.status_code == 202, response.text
    return response.json()


def finished(status_url: str) -> Any:
    """The status, once following it leads to the end."""

    def look() -> Any:
        response = httpx.get(status_url)
        return response.json() if response.status_code == 200 else None

    return until(look)


def test_a_started_instance_is_followed_to_its_result(tmp_path: Path) -> None:
    with running(make(tmp_path)) as (_, url):
        payload = begin(url, tmp_path, 2)
        assert payload["statusQueryGetUri"].startswith(f"{url}/runtime/webhooks/durabletask/instances/{payload['id']}?")
        assert httpx.get(payload["statusQueryGetUri"]).status_code == 202
        assert finished(payload["statusQueryGetUri"])["output"] == [0, 1]


def test_a_kill_in_the_middle_repeats_nothing_that_was_finished(tmp_path: Path) -> None:
    host = Host(make(tmp_path))
    try:
        payload = begin(host.listening(), tmp_path, 4)
        until(lambda: "step 2" in notes(tmp_path))
    finally:
        host.kill()
    with running(tmp_path) as (_, url):
        status_url = re.sub(r"^http://[^/]+", url, payload["statusQueryGetUri"])
        assert finished(status_url)["output"] == [0, 1, 4, 9]
    written = notes(tmp_path)
    assert [written.count(f"step {number}") for number in (0, 1, 3)] == [1, 1, 1]
    assert written.count("step 2") in (1, 2)  # it was running when the host died


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_end_waits_for_open_requests_and_running_activities(number: signal.Signals, tmp_path: Path) -> None:
    host = Host(make(tmp_path))
    answers: list[str] = []
    try:
        url = host.listening()
        begin(url, tmp_path, 100)
        asking = threading.Thread(target=lambda: answers.append(httpx.get(f"{url}/api/slow", timeout=30).text))
        asking.start()
        until(lambda: {"slow began", "step 1"} <= set(notes(tmp_path)))
        assert host.end(number) == 0, "".join(host.lines)
        asking.join()
    finally:
        host.kill()
    assert answers == ["slow but sure"]
    assert not [line for line in host.lines if "Traceback" in line]


HANGING = """
@app.activity_trigger(input_name="seconds")
def hang(seconds: int) -> None:
    note("hanging")
    time.sleep(seconds)


@app.orchestration_trigger(context_name="context")
def hangs(context: df.DurableOrchestrationContext):
    yield context.call_activity("hang", 3600)
"""


def test_a_second_ctrl_c_leaves_a_hung_activity_behind(tmp_path: Path) -> None:
    host = Host(make(tmp_path, HANGING), variables={"PERDURE_DRAIN_GRACE": "3600"})
    try:
        url = host.listening()
        httpx.post(f"{url}/api/start/hangs", json=1, headers={"x-functions-key": function_key(tmp_path)}).raise_for_status()
        until(lambda: "hanging" in notes(tmp_path))
        host.interrupt()
        host.says(re.compile(r"draining: 1 running activities get up to 3600 s"))
        assert host.end() == 0, "".join(host.lines)
    finally:
        host.kill()


def test_keys_are_private_and_without_them_nobody_gets_in(tmp_path: Path) -> None:
    with running(make(tmp_path)) as (_, url):
        file = tmp_path / ".perdure" / "keys.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        for headers in ({}, {"x-functions-key": "wrong"}):
            assert httpx.post(f"{url}/api/start/steps", json=1, headers=headers).status_code == 401
        assert httpx.get(f"{url}/runtime/webhooks/durabletask/instances?code=wrong").status_code == 401
        assert httpx.get(f"{url}/admin/host/status?code={function_key(tmp_path)}").status_code == 401
        master = json.loads(file.read_text())["masterKey"]
        assert httpx.get(f"{url}/admin/host/status?code={master}").json()["state"] == "Running"


def test_a_body_over_the_limit_is_413_and_the_host_goes_on(tmp_path: Path) -> None:
    def pieces() -> Any:
        for _ in range(4):
            yield b"x" * 500

    with running(make(tmp_path), variables={"PERDURE_MAX_REQUEST_BYTES": "1000"}) as (_, url):
        assert httpx.post(f"{url}/api/size", content=b"x" * 1001).status_code == 413
        assert httpx.post(f"{url}/api/size", content=pieces()).status_code == 413
        assert httpx.post(f"{url}/api/size", content=b"x" * 1000).text == "1000"


def test_a_port_that_is_taken_is_named_with_what_to_do(tmp_path: Path) -> None:
    make(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = perdure("start", "--port", str(port), folder=tmp_path)
    assert done.exit_code != 0
    assert f"can't listen on 127.0.0.1, port {port}: Address already in use." in done.err
    assert f"--port {port + 1}" in done.err
    assert "Traceback" not in done.err


def test_a_timer_fires_each_second_once_across_a_restart(tmp_path: Path) -> None:
    make(tmp_path, TIMER)
    for count in (2, 4):
        with running(tmp_path):
            until(lambda count=count: len(notes(tmp_path)) >= count)
    written = notes(tmp_path)
    assert len(written) == len(set(written))


def test_messages_go_through_queues_and_orchestrations(azurite: str, tmp_path: Path) -> None:
    make(tmp_path, QUEUES)
    settings = {"IsEncrypted": False, "Values": {"Storage": azurite}}
    (tmp_path / "local.settings.json").write_text(json.dumps(settings))
    with running(tmp_path) as (_, url):
        assert httpx.post(f"{url}/api/enqueue", content=b"3").text == "queued"
        until(lambda: "done [0, 1, 4]" in notes(tmp_path))


CALLS = """
from datetime import timedelta
asked = []

@app.route(route="job", auth_level=func.AuthLevel.ANONYMOUS)
def job(req: func.HttpRequest) -> func.HttpResponse:
    note(f"job {req.method} {req.get_body().decode()} {req.headers.get('x-functions-key')} {len(req.headers['idempotency-key'])}")
    return func.HttpResponse(status_code=202, headers={"Location": "/api/state?of=job", "Retry-After": "0"})

@app.route(route="state", auth_level=func.AuthLevel.ANONYMOUS)
def state(req: func.HttpRequest) -> func.HttpResponse:
    asked.append(f"{req.method} {req.url.rpartition('/')[2]} {req.headers.get('x-functions-key')}")
    if len(asked) < 3:
        return func.HttpResponse(status_code=202, headers={"Location": "/api/state?of=job", "Retry-After": "0"})
    return func.HttpResponse(",".join(asked))

@app.route(route="flaky", auth_level=func.AuthLevel.ANONYMOUS)
def flaky(req: func.HttpRequest) -> func.HttpResponse:
    asked.append("flaky")
    return func.HttpResponse("steady", status_code=503 if asked.count("flaky") < 3 else 200)

@app.orchestration_trigger(context_name="context")
def calls(context):
    url = context.get_input()
    polled = yield context.call_http("POST", f"{url}/api/job", {"a": 1}, {"x-functions-key": "k"})
    retry = df.RetryOptions(first_retry_interval_in_milliseconds=10, max_number_of_attempts=5)
    retried = yield context.call_http("GET", f"{url}/api/flaky", retry_options=retry)
    missing = yield context.call_http("GET", f"{url}/api/missing")
    return [polled["content"], retried["content"], missing["statusCode"]]
"""


def test_an_orchestration_calls_over_http_polls_and_retries(tmp_path: Path) -> None:
    with running(make(tmp_path, CALLS)) as (_, url):
        headers = {"x-functions-key": function_key(tmp_path)}
        payload = httpx.post(f"{url}/api/start/calls", json=url, headers=headers).json()
        polled, retried, missing = finished(payload["statusQueryGetUri"])["output"]
    assert polled == ",".join(["GET state?of=job None"] * 3)
    assert (retried, missing) == ("steady", 404)
    [job] = [line for line in notes(tmp_path) if line.startswith("job")]
    assert re.fullmatch(r'job POST \{"a": ?1\} k [1-9]\d*', job)


AZURE_APP = """
import azure.functions as func
import azure.durable_functions as df

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)

@app.route(route="hello/{name}")
@app.durable_client_input(client_name="client")
async def hello(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    instance_id = await client.start_new("greet", None, {"name": req.route_params["name"]})
    if req.params.get("wait"):
        return await client.wait_for_completion_or_create_check_status_response(req, instance_id, 20000, 50)
    return client.create_check_status_response(req, instance_id)

@app.orchestration_trigger(context_name="context")
def greet(context: df.DurableOrchestrationContext):
    return (yield context.call_activity("say", context.get_input()["name"]))

@app.activity_trigger(input_name="name")
def say(name: str) -> str:
    return f"Hello {name}!"
"""


def test_an_unmodified_azure_app_reaches_its_host_through_the_packages_own_client(tmp_path: Path) -> None:
    (tmp_path / "function_app.py").write_text(AZURE_APP)
    with running(tmp_path, variables={"PYTHONWARNINGS": "default"}) as (_, url):
        response = httpx.get(f"{url}/api/hello/Ada", timeout=30)
        assert response.status_code == 202, response.text
        payload = response.json()
        assert payload["statusQueryGetUri"].startswith(f"{url}/runtime/webhooks/durabletask/instances/{payload['id']}?")
        assert finished(payload["statusQueryGetUri"])["output"] == "Hello Ada!"
        waited = httpx.get(f"{url}/api/hello/Bob?wait=1", timeout=30)
        assert (waited.status_code, waited.text) == (200, "Hello Bob!")


ASGI_APP = """
import azure.functions as func

async def service(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["ready"] = "yes"
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("service cleaned up", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = f"{scope['method']} {scope['path']} {scope['state']['ready']}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})

app = func.AsgiFunctionApp(app=service, http_auth_level=func.AuthLevel.ANONYMOUS)
"""


def test_an_asgi_app_is_served_with_its_lifespan(tmp_path: Path) -> None:
    (tmp_path / "function_app.py").write_text(ASGI_APP)
    (tmp_path / "host.json").write_text('{"version": "2.0", "extensions": {"http": {"routePrefix": ""}}}')
    with running(tmp_path, "--store", "memory://") as (host, url):
        assert httpx.delete(f"{url}/any/path").text == "DELETE /any/path yes"
    assert "service cleaned up\n" in host.lines


WSGI_APP = """
import azure.functions as func

def service(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("201 Created", [("Content-Type", "text/plain"), ("X-A", "1")])
    yield f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}?{environ['QUERY_STRING']} ".encode()
    yield body

app = func.WsgiFunctionApp(app=service, http_auth_level=func.AuthLevel.ANONYMOUS)
"""


def test_a_wsgi_app_is_served(tmp_path: Path) -> None:
    (tmp_path / "function_app.py").write_text(WSGI_APP)
    with running(tmp_path, "--store", "memory://") as (_, url):
        response = httpx.post(f"{url}/api/any?x=1", content=b"body")
    assert (response.status_code, response.text, response.headers["x-a"]) == (201, "POST /api/any?x=1 body", "1")
