"""An unmodified app of the 2.x preview of azure-functions-durable, run by ``perdure start``, with the real SDK, over HTTP."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.cli import Host, running
from tests.e2e.preview_environment import make_environment

APP = Path(__file__).parent / "apps" / "azure_preview"
PATIENCE = 30

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Served:
    """The app, as its users reach it."""

    def __init__(self, url: str, scratch: Path) -> None:
        self.scratch = scratch
        self._http = httpx.Client(base_url=url, timeout=PATIENCE)

    def close(self) -> None:
        self._http.close()

    def post(self, url: str, body: Any = None, status: int = 200) -> Any:
        answer = self._http.post(url, json=body)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def get(self, url: str, status: int = 200) -> Any:
        answer = self._http.get(url)
        assert answer.status_code == status, answer.text
        return answer.json()

    def start(self, name: str, value: Any = None, **query: str) -> str:
        return self.links(name, value, **query)["id"]

    def links(self, name: str, value: Any = None, **query: str) -> dict[str, str]:
        return self.post(str(httpx.URL(f"/api/start/{name}", params=query)), value, 202)

    def run(self, name: str, value: Any = None) -> Any:
        return self.post(f"/api/wait/{name}", value)

    def client(self, _operation: str, **arguments: Any) -> Any:
        """What the SDK's client says inside of the app."""
        return self.post(f"/api/client/{_operation}", arguments)

    def ended(self, instance_id: str) -> dict[str, Any]:
        return self.client("ended", id=instance_id)


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_environment(tmp_path_factory)


@pytest.fixture(scope="module")
def app(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = copied(tmp_path_factory.mktemp("preview"))
    with running(folder, "--store", "sqlite:///hub.db", variables=variables(folder), python=python) as (_, url):
        served = Served(url, folder / "scratch")
        yield served
        served.close()


def copied(folder: Path) -> Path:
    shutil.copytree(APP, folder, dirs_exist_ok=True)
    (folder / "scratch").mkdir()
    return folder


def variables(folder: Path) -> dict[str, str]:
    # The SDK calls what apps of 1.x use deprecated.
    return {"SCRATCH": str(folder / "scratch"), "PYTHONWARNINGS": "default"}


PARCEL = {"__class__": "Parcel", "__module__": "goods", "__data__": {"content": "books", "weight": 3}}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("chain", ["Tokyo", 7], ["Hello Tokyo!", "Hello 7!"]),
        ("CHAIN", [], []),
        ("FanOut", 20, [f"Hello {number}!" for number in range(20)]),
        ("ship", PARCEL, ["books", 4]),
        ("short_sleep", None, True),
        ("retrying", "bravely", ["worked at 3", "worked at 3"]),
        ("locking", "lock", [0, 5]),
    ],
)
def test_an_orchestration_comes_to_its_result(app: Served, name: str, value: Any, expected: Any) -> None:
    assert app.run(name, value) == expected


def test_a_function_that_does_not_yield_is_an_orchestrator_too(app: Served) -> None:
    instance_id = app.start("plain", {"a": 1})
    assert app.ended(instance_id)["output"] == {"input": {"a": 1}, "name": instance_id}


def test_failures_of_activities_and_entities_can_be_caught(app: Served) -> None:
    assert app.run("careful").endswith("Activity task #1 failed: no: caught")
    added, failure, kept = app.run("counting", "cats")
    assert (added, kept) == (6, 6)
    assert failure.endswith("cats has 6")


def test_a_sub_orchestration_knows_its_parent(app: Served) -> None:
    greeted, (child, parent, value), nobody = app.run("parent")
    assert (greeted, value, nobody) == (["Hello Lyon!"], 5, None)
    assert child == f"{parent}-child"
    assert app.client("state", id=parent)["status"] == "COMPLETED"


def test_continue_as_new_keeps_the_instance(app: Served) -> None:
    instance_id = app.start("countdown", 3)
    assert app.ended(instance_id)["output"] == f"done in {instance_id}"


def test_an_event_is_waited_for_and_the_timer_cancelled(app: Served) -> None:
    instance_id = app.start("approval", {"hours": 1})
    until(lambda: app.client("state", id=instance_id)["custom_status"] == {"waits for": "approval"})
    app.client("send", id=instance_id, event="approval", data={"by": "me"})
    ended = app.ended(instance_id)
    assert (ended["output"], ended["custom_status"], ended["input"]) == ({"by": "me"}, "answered", {"hours": 1})


def test_a_two_argument_orchestrator_has_version_custom_status_and_events(app: Served) -> None:
    links = app.links("native", "Nora", version="1.2")
    until(lambda: app.get(links["statusQueryGetUri"], 202)["customStatus"] == "Greetings, Nora")
    app.post(links["sendEventPostUri"].replace("{eventName}", "more"), {"a": 1}, 202)
    assert app.ended(links["id"])["output"] == ["Greetings, Nora", {"a": 1}, "1.2"]
    status = app.get(links["statusQueryGetUri"] + "&showHistory=true&showHistoryOutput=true")
    assert status["output"] == ["Greetings, Nora", {"a": 1}, "1.2"]
    assert [event["EventType"] for event in status["historyEvents"]] == [
        "ExecutionStarted",
        "TaskCompleted",
        "EventRaised",
        "ExecutionCompleted",
    ]


def test_a_failure_shows_the_traceback_of_the_users_own_code(app: Served) -> None:
    kind, message, trace = app.ended(app.start("failing", 0))["failure"]
    assert (kind, message) == ("builtins.ZeroDivisionError", "division by zero")
    assert "return 100 / amount" in trace
    assert trace.count("  File ") == 1


def test_the_failure_of_an_activity_shows_the_traceback_of_the_activity_too(app: Served) -> None:
    ended = app.ended(app.start("failing_activity"))
    assert ended["failure"][0] == "durabletask.task.TaskFailedError"
    assert 'yield context.call_activity("refuse", "never")' in ended["failure"][2]
    kind, message, trace = ended["cause"]
    assert (kind, message) == ("ValueError", "no: never")
    assert 'raise ValueError(f"no: {text}")' in trace
    assert trace.count("  File ") == 1


def test_what_the_app_has_not_got_fails_with_a_list_of_what_it_has(app: Served) -> None:
    activity, child, entity = app.run("calls_nothing")
    assert "activity 'NoSuchFunction' isn't registered in this app. Registered: Weigh" in activity
    assert "there is no orchestrator named 'NoSuchFunction'. Registered: FanOut" in child
    assert "there is no entity named 'nosuchentity'. Registered: Account" in entity
    assert "BuiltIn" not in activity + child
    assert app.ended(app.start("nonsense"))["failure"][0] == "perdure.OrchestratorNotRegisteredError"


def test_call_http_goes_through_the_functions_of_the_sdk(app: Served) -> None:
    finished = app.links("chain", ["x"])
    app.ended(finished["id"])
    waiting = app.links("approval", {"hours": 1})  # its status is a 202, which has to be followed
    over = app.start("web", finished["statusQueryGetUri"])
    followed = app.start("web", waiting["statusQueryGetUri"])
    status, content = app.ended(over)["output"]
    assert (status, json.loads(content)["output"]) == (200, ["Hello x!"])
    ((name, child),) = until(lambda: app.client("children", parent=followed))
    assert name == "BuiltIn__HttpPollOrchestrator"
    until(lambda: "TimerCreatedEvent" in app.client("history", id=child))
    app.client("terminate", id=followed, output=None)
    app.client("terminate", id=waiting["id"], output=None)


def test_entities_of_both_kinds_keep_their_state(app: Served) -> None:
    app.client("signal", name="Account", key="joint", operation="deposit", input=30)
    app.client("signal", name="Account", key="joint", operation="refuse", input=None)
    app.client("signal", name="Account", key="joint", operation="deposit", input=12)
    until(lambda: app.client("entity", name="account", key="joint") == [42, True, 42])
    app.client("signal", name="memo", key="pad", operation="note", input="milk")
    app.client("signal", name="memo", key="pad", operation="note", input="eggs")
    until(lambda: app.client("entity", name="memo", key="pad")[0] == ["milk", "eggs"])
    assert app.client("entities", prefix="@account@j") == ["@account@joint"]
    assert app.client("entity", name="Account", key="nobody") == [None, False, None]
    app.client("signal", name="counter", key="gone", operation="add", input=1)
    app.client("signal", name="counter", key="gone", operation="delete", input=None)
    until(lambda: app.client("entity", name="counter", key="gone")[1] is False)
    assert set(app.client("clean")) == {"empty_entities_removed", "orphaned_locks_released"}


def test_an_entity_starts_an_orchestration(app: Served) -> None:
    app.client("signal", name="Account", key="joint", operation="open_case", input="c1")
    until(lambda: app.client("state", id="case-c1"))
    assert app.ended("case-c1")["output"] == {"input": "c1", "name": "case-c1"}


def test_suspend_holds_an_instance_until_resume(app: Served) -> None:
    instance_id = app.start("approval", {"hours": 1})
    assert app.client("started", id=instance_id)["status"] == "RUNNING"
    app.client("suspend", id=instance_id)
    app.client("send", id=instance_id, event="approval", data=1)
    assert app.client("state", id=instance_id)["status"] == "SUSPENDED"
    app.client("resume", id=instance_id)
    assert app.ended(instance_id)["output"] == 1
    history = app.client("history", id=instance_id)
    assert history[:2] == ["OrchestratorStartedEvent", "ExecutionStartedEvent"]
    assert {"ExecutionSuspendedEvent", "ExecutionResumedEvent", "EventRaisedEvent"} <= set(history)
    found, status = app.client("old_status", id=instance_id)
    assert found
    assert (status["runtimeStatus"], status["output"], status["customStatus"]) == ("Completed", 1, "answered")
    assert status["historyEvents"][0]["EventType"] == "ExecutionStarted"


def test_terminate_restart_and_purge(app: Served) -> None:
    instance_id = app.start("approval", {"hours": 2}, id="to-be-ended")
    app.client("terminate", id=instance_id, output={"why": "tired"})
    ended = app.ended(instance_id)
    assert (ended["status"], ended["output"]) == ("TERMINATED", {"why": "tired"})
    assert app.start("approval", {"hours": 3}, id=instance_id) == instance_id  # as the host extension does: it has ended
    app.client("terminate", id=instance_id, output=None)
    assert app.client("restart", id=instance_id, new_id=False) == instance_id
    app.client("terminate", id=instance_id, output=None)
    other = app.client("restart", id=instance_id, new_id=True)
    assert other != instance_id
    assert app.client("state", id=other)["input"] == {"hours": 3}
    app.client("terminate", id=other, output=None)
    assert instance_id in app.client("query", status="TERMINATED")
    assert app.client("purge", id=instance_id) == 1
    assert app.client("state", id=instance_id) is None
    assert app.client("old_status", id=instance_id)[0] is False


def test_purge_of_many_takes_what_matches(app: Served) -> None:
    since = app.client("now")
    doomed = app.start("approval", {"hours": 1})
    app.client("terminate", id=doomed, output=None)
    kept = app.start("plain")
    app.ended(kept)
    assert app.client("purge_by", since=since) >= 1
    assert app.client("state", id=doomed) is None
    assert app.client("state", id=kept)["status"] == "COMPLETED"


def test_rewind_runs_again_what_failed_and_nothing_else(app: Served) -> None:
    instance_id = app.start("once_flaky", "rewound")
    failures: list[str] = []
    while (ended := app.ended(instance_id))["status"] == "FAILED":
        failures.append(ended["failure"][1].rpartition(": ")[2])
        app.client("rewind", id=instance_id)
    assert failures == ["try 1", "try 2"]
    assert ended["output"] == ["Greetings, rewound", "worked at 3"]


def test_a_start_may_lie_in_the_future(app: Served) -> None:
    instance_id = app.client("start_at", name="plain", at="2999-01-01T00:00:00+00:00")
    assert app.client("state", id=instance_id)["status"] == "PENDING"
    app.client("terminate", id=instance_id, output=None)


def test_a_plain_function_has_the_synchronous_client(app: Served) -> None:
    assert app.post("/api/plain/chain", ["sync"]) == ["Hello sync!"]


def test_management_urls_lead_to_this_host(app: Served) -> None:
    by_request, by_binding = app.get("/api/payload/some%20id")
    assert set(by_request) == set(by_binding) == {
        "id", "statusQueryGetUri", "sendEventPostUri", "terminatePostUri", "rewindPostUri", "purgeHistoryDeleteUri",
        "restartPostUri", "suspendPostUri", "resumePostUri",
    }  # fmt: skip
    assert "/runtime/webhooks/durabletask/instances/some%20id?" in by_request["statusQueryGetUri"]
    assert by_request == by_binding
    app.get(by_request["statusQueryGetUri"], 404)


def test_a_schedule_starts_orchestrations_until_it_is_deleted(app: Served) -> None:
    def runs() -> int:
        return len(app.client("inputs", name="chain", input=["Rome"]))

    assert app.post("/api/schedules/create/hourly", {}) == "ACTIVE"
    until(lambda: runs() >= 2)
    assert app.post("/api/schedules/pause/hourly", {}) == "PAUSED"
    assert app.post("/api/schedules/resume/hourly", {}) == "ACTIVE"
    assert app.post("/api/schedules/delete/hourly", {}) is None


def test_histories_are_exported_by_activities_with_a_client(app: Served) -> None:
    app.run("chain", ["exported"])
    status, count = app.post("/api/export", {})
    assert status == "COMPLETED"
    assert count == len(list((app.scratch / "histories").rglob("*.gz"))) > 0


def test_what_was_under_way_at_kill_9_goes_on(python: Path, tmp_path: Path) -> None:
    folder = copied(tmp_path)
    scratch = folder / "scratch"
    arguments = ("--store", "sqlite:///hub.db")
    with killed(folder, python, *arguments) as served:
        working = served.start("long_work", "w")
        waiting = served.start("native", "Nora")
        served.client("signal", name="Account", key="kept", operation="deposit", input=7)
        until((scratch / "w.begun").exists)
        until(lambda: served.client("entity", name="account", key="kept")[0] == 7)
        until(lambda: served.client("state", id=waiting)["custom_status"] == "Greetings, Nora")
    with running(folder, *arguments, variables=variables(folder), python=python) as (_, url):
        served = Served(url, scratch)
        until(lambda: (scratch / "w.begun").read_text() == "xx")  # the activity runs again: nobody has its outcome
        (scratch / "w.go").touch()
        assert served.ended(working)["output"] == ["Greetings, w", "Greetings, w is done"]
        served.client("send", id=waiting, event="more", data="light")
        assert served.ended(waiting)["output"] == ["Greetings, Nora", "light", None]
        assert served.client("entity", name="account", key="kept")[0] == 7
        served.close()


def test_with_grpc_for_others_what_the_app_has_not_got_waits_for_them(python: Path, tmp_path: Path) -> None:
    folder = copied(tmp_path)
    with running(folder, "--grpc", "--grpc-port", "0", variables=variables(folder), python=python) as (_, url):
        served = Served(url, folder / "scratch")
        assert served.run("chain", ["a"]) == ["Hello a!"]
        elsewhere = served.start("nonsense")
        assert served.run("locking", "lock") == [0, 5]
        assert served.client("state", id=elsewhere)["status"] == "PENDING"
        served.close()


def test_large_payloads_are_kept_where_the_app_says(python: Path, tmp_path: Path) -> None:
    folder = copied(tmp_path)
    payloads = tmp_path / "payloads"
    payloads.mkdir()
    name = "x" * 5000
    with running(folder, variables={**variables(folder), "PAYLOADS": str(payloads)}, python=python) as (_, url):
        served = Served(url, folder / "scratch")
        links = served.links("chain", [name, "small"])
        assert served.ended(links["id"])["output"] == [f"Hello {name}!", "Hello small!"]
        assert served.run("counting", "cats")[0] == 6
        status = served.get(links["statusQueryGetUri"])
        assert status["input"].startswith("folder:")
        assert status["output"].startswith("folder:")
        assert len(list(payloads.iterdir())) >= 3
        served.close()


@contextmanager
def killed(folder: Path, python: Path, *arguments: str) -> Iterator[Served]:
    """A host that ends by kill -9."""
    host = Host(folder, *arguments, variables=variables(folder), python=python)
    try:
        served = Served(host.listening(), folder / "scratch")
        yield served
        served.close()
    finally:
        host.kill()


def until(condition: Callable[[], Any]) -> Any:
    """Waits for something that nobody tells of. The processes are real, and so is the time."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)
    return value
