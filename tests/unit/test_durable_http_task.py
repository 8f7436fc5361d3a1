"""``call_http``: the request that is written down, and the polling after a 202."""

from datetime import timedelta
from typing import Any

import pytest

from perdure.core.context import DurableOrchestrationContext
from perdure.core.durable_http import HTTP_ACTIVITY, timespan
from perdure.core.retry import RetryOptions
from tests.unit.driver import EPOCH, World


class Service:
    """Answers requests from a script, and keeps them with the time at which they came."""

    def __init__(self, world: World, *answers: Any) -> None:
        self.requests: list[dict[str, Any]] = []
        self.seconds: list[float] = []
        script = iter(answers)

        def send(request: Any, job: Any) -> Any:
            del job
            self.requests.append(request)
            self.seconds.append(world.now_us / 1_000_000 - EPOCH.timestamp())
            answer = next(script)
            if isinstance(answer, Exception):
                raise answer
            return answer

        world.app.activity(HTTP_ACTIVITY, send)


def answer(status: int, content: str = "", **headers: Any) -> dict[str, Any]:
    return {
        "statusCode": status,
        "headers": {name.replace("_", "-"): value for name, value in headers.items()},
        "content": content,
    }


def call(world: World, *arguments: Any, **options: Any) -> Any:
    """The instance in which an orchestrator made the call and returned its result."""

    def orchestrator(context: DurableOrchestrationContext) -> Any:
        return (yield context.call_http(*arguments, **options))

    instance = world.start(world.app.orchestrator(orchestrator))
    world.run()
    return instance


def test_an_answer_is_the_result_whatever_its_status(world: World) -> None:
    service = Service(world, answer(404, "nothing here"))
    assert call(world, "get", "http://api/x").output == answer(404, "nothing here")
    assert service.requests == [{"method": "GET", "uri": "http://api/x", "asynchronousPatternEnabled": True}]


def test_everything_that_is_given_is_in_the_request(world: World) -> None:
    service = Service(world, answer(200))

    class Token:
        def to_json(self) -> dict[str, str]:
            return {"resource": "https://vault", "kind": "AzureManagedIdentity"}

    call(
        world, "POST", "http://api/x", {"a": 1}, {"X-A": "1"}, Token(),
        timeout=timedelta(seconds=90), retry_options=RetryOptions(1, 2), status_codes_to_retry=[503],
        asynchronous_pattern_enabled=False,
    )  # fmt: skip
    assert service.requests == [
        {
            "method": "POST",
            "uri": "http://api/x",
            "asynchronousPatternEnabled": False,
            "content": '{"a":1}',
            "headers": {"X-A": "1"},
            "tokenSource": {"resource": "https://vault", "kind": "AzureManagedIdentity"},
            "timeout": "00:01:30",
            "retryOptions": {"statusCodesToRetry": [503]},
        }
    ]


@pytest.mark.parametrize(
    ("given", "raw", "sent"),
    [("text", True, "text"), ("text", False, '"text"'), ([1], False, "[1]"), (None, False, None)],
)
def test_content_is_json_unless_it_is_raw(world: World, given: Any, raw: bool, sent: str | None) -> None:
    service = Service(world, answer(200))
    call(world, "POST", "http://api/x", given, is_raw_str=raw)
    assert service.requests[0].get("content") == sent


def test_a_202_is_polled_at_its_location_after_its_time(world: World) -> None:
    service = Service(
        world,
        answer(202, Location="/status/1", Retry_After="5"),
        answer(202, location=["http://api/status/2"]),
        answer(202, Location="http://api/status/3", Retry_After="Tue, 01 Jan 2030 00:01:00 GMT"),
        answer(200, "done"),
    )
    instance = call(world, "POST", "http://api/jobs", "x", {"x-functions-key": "k", "Authorization": "secret", "X-A": "1"})
    assert instance.output == answer(200, "done")
    assert [request["uri"] for request in service.requests[1:]] == [f"http://api/status/{number}" for number in (1, 2, 3)]
    assert {request["method"] for request in service.requests[1:]} == {"GET"}
    assert all(request["headers"] == {"Authorization": "secret", "X-A": "1"} for request in service.requests[1:])
    assert all("content" not in request for request in service.requests[1:])
    assert service.seconds == [0, 5, 35, 60]


def test_where_the_answer_says_no_time_the_activity_may(world: World) -> None:
    service = Service(
        world,
        answer(202, Location="/status/1") | {"pollAfterMilliseconds": 1500},
        answer(202, Location="/status/2", Retry_After="4") | {"pollAfterMilliseconds": 1500},
        answer(200),
    )
    call(world, "GET", "http://api/x")
    assert service.seconds == [0, 1.5, 5.5]


def test_credentials_do_not_follow_to_another_origin(world: World) -> None:
    service = Service(world, answer(202, Location="https://elsewhere/1", Retry_After="0"), answer(200))
    call(world, "GET", "http://api/x", None, {"Cookie": "c", "X-A": "1"}, {"resource": "r"})
    assert service.requests[1]["headers"] == {"X-A": "1"}
    assert "tokenSource" not in service.requests[1]


@pytest.mark.parametrize("options", [{"asynchronous_pattern_enabled": False}, {}])
def test_a_202_that_cannot_or_shall_not_be_followed_is_a_result(world: World, options: dict[str, Any]) -> None:
    location = {"Location": "http://api/1"} if options else {}
    Service(world, answer(202, **location))
    assert call(world, "GET", "http://api/x", **options).output["statusCode"] == 202


def test_a_failed_request_is_repeated_as_the_options_say(world: World) -> None:
    service = Service(world, OSError("down"), OSError("down"), answer(200))
    assert call(world, "GET", "http://api/x", retry_options=RetryOptions(2000, 3)).output["statusCode"] == 200
    assert service.seconds == [0, 2, 4]


def test_a_request_without_an_answer_fails_the_call(world: World) -> None:
    Service(world, OSError("down"))
    assert call(world, "GET", "http://api/x").failure.is_caused_by(OSError)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("GET", "ftp://api/x"), "ftp://api/x"),
        (("GET", "/x"), "absolute"),
        (("GET", "http://api/x", 5, None, None, True), "is_raw_str"),
        (("GET", "http://api/x", None, None, "token"), "token_source"),
    ],
)
def test_a_call_that_makes_no_sense_is_refused_where_it_is_made(world: World, arguments: Any, text: str) -> None:
    assert text in call(world, *arguments).failure.message


@pytest.mark.parametrize(
    "nonsense", [answer(202, Location="file:///etc/passwd"), answer(202, Location=""), {"headers": {}}, None, "text"]
)
def test_an_answer_that_makes_no_sense_fails_the_call_only(world: World, nonsense: Any) -> None:
    Service(world, nonsense, answer(200))
    assert call(world, "GET", "http://api/x").status in ("Failed", "Completed")


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(seconds=1), "00:00:01"),
        (timedelta(days=2, hours=3, microseconds=5), "2.03:00:00.0000050"),
    ],
)
def test_durations_are_written_as_dotnet_writes_them(duration: timedelta, text: str) -> None:
    assert timespan(duration) == text
