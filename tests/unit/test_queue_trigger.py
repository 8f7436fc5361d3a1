"""Queue triggers: connections, and what a listener does while its queue can't be reached. The rest is tested with Azurite."""

import asyncio
import base64
import logging
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from perdure.host.model import QueueTrigger
from perdure.host.triggers.errors import QueueConnectionError, QueueServiceError
from perdure.host.triggers.invoke import Clients, Invoker
from perdure.host.triggers.queue import QueueListener, QueueOptions
from perdure.host.triggers.storage_queue import QueueAccount, ReceivedMessage, StorageQueue
from perdure.testing.virtual_clock import VirtualClock, run_simulation
from tests.unit.host_lab import queue

KEY = base64.b64encode(b"secret").decode()


@pytest.mark.parametrize(
    ("text", "name", "endpoint"),
    [
        ("UseDevelopmentStorage=true", "devstoreaccount1", "http://127.0.0.1:10001/devstoreaccount1"),
        (
            "UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://azurite",
            "devstoreaccount1",
            "http://azurite:10001/devstoreaccount1",
        ),
        (f"AccountName=a;AccountKey={KEY}", "a", "https://a.queue.core.windows.net"),
        (
            f"DefaultEndpointsProtocol=http;AccountName=a;AccountKey={KEY};EndpointSuffix=x.cn;",
            "a",
            "http://a.queue.x.cn",
        ),
        (f"accountname=a;accountkey={KEY};queueendpoint=http://h:1/a/", "a", "http://h:1/a"),
        ("QueueEndpoint=http://h:1/a;SharedAccessSignature=?sv=1&sig=2", "", "http://h:1/a"),
    ],
)
def test_a_connection_string_names_its_account(text: str, name: str, endpoint: str) -> None:
    account = QueueAccount.parse(text)
    assert (account.name, account.endpoint) == (name, endpoint)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "without '='"),
        ("nonsense", "without '='"),
        ("AccountName=a", "neither AccountKey nor SharedAccessSignature"),
        (f"AccountKey={KEY}", "neither AccountName nor QueueEndpoint"),
        (f"AccountKey={KEY};QueueEndpoint=http://h", "no AccountName"),
        ("AccountName=a;AccountKey=?", "not Base64"),
    ],
)
def test_a_connection_string_that_cannot_be_used_is_not_repeated_in_the_message(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        QueueAccount.parse(text)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("setting", ["Mine", "AzureWebJobsMine", "ConnectionStrings:Mine"])
def test_a_connection_is_found_under_its_names(setting: str) -> None:
    settings = {setting: "UseDevelopmentStorage=true"}
    assert QueueAccount.of_connection("Mine", settings, "function 'f'").name == "devstoreaccount1"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, "function 'f': there is no app setting 'AzureWebJobsStorage'.*UseDevelopmentStorage=true"),
        ({"AzureWebJobsStorage": "x"}, "the connection string in 'AzureWebJobsStorage' can't be used"),
        ({"AzureWebJobsStorage__accountName": "x"}, "identity-based"),
    ],
)
def test_a_connection_that_cannot_be_used_is_told_with_the_fix(settings: dict[str, str], problem: str) -> None:
    with pytest.raises(QueueConnectionError, match=problem):
        QueueAccount.of_connection("", settings, "function 'f'")


class Service:
    """A queue service that is down until a moment of virtual time, and empty then."""

    def __init__(self, clock: VirtualClock, up_at: float) -> None:
        self.clock = clock
        self.up_at = up_at
        self.looks: list[float] = []
        self.messages: list[ReceivedMessage] = []
        self.name = "q"

    async def receive(self, count: int, hidden_for: timedelta) -> list[ReceivedMessage]:
        self.looks.append(self.clock.elapsed())
        if self.clock.elapsed() < self.up_at:
            raise QueueServiceError("down")
        return []


def listener(service: Service, options: QueueOptions) -> QueueListener:
    def handle(msg: Any) -> None: ...

    function = queue(handle, "q")
    nobody = cast("Any", None)
    invoker = Invoker(cast("Clients", nobody), None, folder=Path(), threads=1, timeout=None)
    the_queue = cast("StorageQueue", service)
    return QueueListener(function, cast("QueueTrigger", function.trigger), invoker, the_queue, the_queue, options)


def virtual(test: Callable[[VirtualClock], Coroutine[Any, Any, None]]) -> None:
    run_simulation(test)


def test_an_empty_queue_is_looked_into_less_and_less_often() -> None:
    async def test(clock: VirtualClock) -> None:
        service = Service(clock, up_at=0)
        listening = listener(service, QueueOptions(max_polling_interval=timedelta(seconds=2)))
        listening.start()
        await asyncio.sleep(20)
        await listening.stop(timedelta(0))
        pauses = [round(after - before, 1) for before, after in zip(service.looks, service.looks[1:], strict=False)]
        assert pauses[:7] == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
        assert set(pauses[7:]) == {2.0}

    virtual(test)


def test_a_service_that_is_down_is_told_once_and_tried_until_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def test(clock: VirtualClock) -> None:
        service = Service(clock, up_at=60)
        listening = listener(service, QueueOptions(max_polling_interval=timedelta(seconds=2)))
        listening.start()
        await asyncio.sleep(70)
        await listening.stop(timedelta(0))
        assert len(service.looks) > 30

    virtual(test)
    messages = [record.getMessage() for record in caplog.records if record.name == "perdure.functions"]
    assert messages == [
        "function 'handle' gets no messages for now: [PD4206] down",
        "function 'handle' gets messages again from queue 'q'",
    ]
