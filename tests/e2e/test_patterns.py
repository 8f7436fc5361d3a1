"""The apps of the patterns, in both flavours, driven over HTTP as a client would: POST, then follow ``statusQueryGetUri``."""

import re
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

from perdure.cli.new import Flavour, Template, create
from tests.e2e.cli import Host, running

EXAMPLES = Path(__file__).parents[2] / "examples" / "patterns"


class App:
    """A pattern's app, served, and somebody who calls it."""

    def __init__(self, host: Host, url: str) -> None:
        self.host = host
        self.http = httpx.Client(base_url=url, timeout=30)

    def post(self, path: str, body: Any, status: int = 202) -> httpx.Response:
        answer = self.http.post(path, json=body)
        assert answer.status_code == status, (answer.status_code, answer.text, self.host.lines)
        return answer

    def begin(self, path: str, body: Any) -> dict[str, str]:
        """The URLs of a new instance."""
        answer = self.post(path, body)
        urls: dict[str, str] = answer.json()
        assert answer.headers["location"] == urls["statusQueryGetUri"]
        return urls

    def status(self, urls: dict[str, str]) -> dict[str, Any]:
        answer = self.http.get(urls["statusQueryGetUri"])
        assert answer.status_code in (200, 202), answer.text
        return answer.json()

    def follow(self, urls: dict[str, str]) -> dict[str, Any]:
        """The status of an instance that has ended."""
        return self.until(urls, lambda status: status["runtimeStatus"] not in ("Pending", "Running"))

    def until(self, urls: dict[str, str], reached: Any) -> dict[str, Any]:
        deadline = time.monotonic() + 30
        while not reached(status := self.status(urls)):
            assert time.monotonic() < deadline, status
            time.sleep(0.02)
        return status


@pytest.fixture(params=Flavour, ids=str)
def flavour(request: pytest.FixtureRequest) -> Flavour:
    if request.param is Flavour.AZURE:
        pytest.importorskip("azure.durable_functions")
    return request.param


@pytest.fixture
def app(request: pytest.FixtureRequest, flavour: Flavour, tmp_path: Path) -> Generator[App, None, None]:
    template: Template = request.param
    create(tmp_path / "app", template, flavour)
    # azure-functions-durable warns of itself.
    variables = {"PYTHONWARNINGS": "default"} if flavour is Flavour.AZURE else {}
    with running(tmp_path / "app", variables=variables) as (host, url):
        client = App(host, url)
        with client.http:
            yield client


@pytest.mark.parametrize("app", [Template.CHAINING], indirect=True)
def test_chaining(app: App) -> None:
    shipped = app.follow(app.begin("/api/orders", {"item": "lamp", "quantity": 2}))
    assert (shipped["runtimeStatus"], shipped["output"]) == ("Completed", "2 x lamp shipped for 20")
    app.post("/api/orders", {"item": "lamp"}, 400)
    app.post("/api/orders", "lamp", 400)


@pytest.mark.parametrize("app", [Template.CHAINING], indirect=True)
def test_chaining_undoes_what_was_done_before_a_step_failed_for_good(app: App) -> None:
    urls = app.begin("/api/orders", {"item": "lamp", "quantity": 1000})
    cancelled = app.follow(urls)
    assert cancelled["runtimeStatus"] == "Completed"
    assert cancelled["output"].startswith("cancelled: ")
    history = app.http.get(urls["statusQueryGetUri"] + "&showHistory=true").json()["historyEvents"]
    names = [event.get("FunctionName") for event in history if event["EventType"] in ("TaskCompleted", "TaskFailed")]
    assert names == ["reserve", "charge", "charge", "charge", "release"]


@pytest.mark.parametrize("app", [Template.FAN_OUT], indirect=True)
def test_fan_out(app: App) -> None:
    counted = app.follow(app.begin("/api/word-counts", {"texts": ["to be or not to be", "be quick"]}))
    assert counted["output"] == {"be": 3, "not": 1, "or": 1, "quick": 1, "to": 2}
    assert app.follow(app.begin("/api/word-counts", {"texts": []}))["output"] == {}
    app.post("/api/word-counts", {"texts": 7}, 400)


@pytest.mark.parametrize("app", [Template.ASYNC_HTTP], indirect=True)
def test_async_http_api(app: App) -> None:
    report = "page 1: all is well\npage 2: all is well"
    urls = app.begin("/api/reports", {"pages": 2})
    done = app.follow(urls)
    assert (done["output"], done["customStatus"]) == (report, "done")
    own = app.http.get(f"/api/reports/{urls['id']}")
    assert own.json() == {"state": "Completed", "progress": "done", "report": report}
    assert app.http.get("/api/reports/nobody").status_code == 404
    at_once = app.post("/api/reports?wait=20", {"pages": 2}, 200)
    assert at_once.text == report


@pytest.mark.parametrize("app", [Template.MONITOR], indirect=True)
def test_monitor(app: App) -> None:
    watching = app.begin("/api/monitors", {"job": "nightly", "interval_seconds": 0.05, "patience_seconds": 60})
    app.until(watching, lambda status: status["customStatus"] == "unknown")
    assert app.http.put("/api/jobs/nightly", json={"state": "running"}).status_code == 204
    app.until(watching, lambda status: status["customStatus"] == "running")
    assert app.http.put("/api/jobs/nightly", json={"state": "finished"}).status_code == 204
    assert app.follow(watching)["output"] == "finished"
    impatient = app.begin("/api/monitors", {"job": "other", "interval_seconds": 0.05, "patience_seconds": 0.2})
    assert app.follow(impatient)["output"] == "gave up while it was unknown"


@pytest.mark.parametrize("app", [Template.HUMAN_INTERACTION], indirect=True)
@pytest.mark.parametrize(("approved", "verdict"), [(True, "approved"), (False, "rejected")])
def test_human_interaction(app: App, approved: bool, verdict: str) -> None:
    urls = app.begin("/api/expenses", {"purpose": "new chair", "amount": 300})
    app.until(urls, lambda status: status["customStatus"] == "waiting for a decision")
    app.post(f"/api/expenses/{urls['id']}/decision", {"approved": approved})
    decided = app.follow(urls)
    assert (decided["output"], decided["customStatus"]) == (f"new chair: {verdict}", "decided")
    app.post(f"/api/expenses/{urls['id']}/decision", {"approved": True}, 409)
    app.post("/api/expenses/nobody/decision", {"approved": True}, 404)


@pytest.mark.parametrize("app", [Template.HUMAN_INTERACTION], indirect=True)
def test_human_interaction_goes_on_without_an_answer_or_with_an_event_from_elsewhere(app: App) -> None:
    forgotten = app.begin("/api/expenses", {"purpose": "new boat", "amount": 90_000, "patience_seconds": 0.1})
    assert app.follow(forgotten)["output"] == "new boat: passed on to the board"
    urls = app.begin("/api/expenses", {"purpose": "new chair", "amount": 300})
    app.post(urls["sendEventPostUri"].replace("{eventName}", "Approved"), {})
    assert app.follow(urls)["output"] == "new chair: approved"


@pytest.mark.parametrize("app", [Template.AGGREGATOR], indirect=True)
def test_aggregator(app: App) -> None:
    assert app.http.get("/api/sensors/roof").status_code == 404
    for value in (1, 2, 6):
        app.post("/api/sensors/roof/readings", {"value": value})
    assert app.http.get("/api/sensors/roof").json() == {"count": 3, "sum": 9.0, "highest": 6.0}
    assert app.follow(app.begin("/api/reports", {"sensors": ["roof", "cellar"]}))["output"] == {"roof": 3.0, "cellar": None}
    assert app.follow(app.begin("/api/reports", {"sensors": []}))["output"] == {}
    assert app.http.delete("/api/sensors/roof").status_code == 202
    assert app.http.get("/api/sensors/roof").status_code == 404
    app.post("/api/sensors/roof/readings", {"value": "warm"}, 400)


@pytest.mark.parametrize("template", Template)
def test_the_examples_are_the_templates(template: Template) -> None:
    example = EXAMPLES / template.folder.name
    assert example.resolve() == template.folder.resolve()
    assert re.search(r"(?m)^# .+", (example / "README.md").read_text(encoding="utf-8"))
