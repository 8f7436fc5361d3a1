"""Queue triggers and outputs against a real queue service."""

import asyncio
import base64
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import azure.functions as func
import httpx
import pytest

from perdure.host.model import Output, QueueTrigger, TriggeredFunction
from perdure.host.triggers.errors import QueueServiceError
from perdure.host.triggers.invoke import Clients, Invoker
from perdure.host.triggers.queue import QueueListener, QueueOptions, Queues
from perdure.host.triggers.storage_queue import QueueAccount, StorageQueue
from tests.e2e.azurite import azurite, connection_string
from tests.unit.host_lab import http, queue, served, triggered

__all__ = ["azurite"]
_HOLD = timedelta(seconds=30)
_FAST = QueueOptions(max_polling_interval=timedelta(milliseconds=100))


class Lab:
    """One queue of its own, and listeners on it."""

    def __init__(self, http_client: httpx.AsyncClient, connection: str) -> None:
        self.settings = {"AzureWebJobsStorage": connection}
        self.name = f"q{uuid4().hex}"
        self.account = QueueAccount.parse(connection)
        self.queue = StorageQueue(http_client, self.account, self.name)
        self.poison = StorageQueue(http_client, self.account, f"{self.name}-poison")

    async def put(self, text: str) -> None:
        await self.queue.put(base64.b64encode(text.encode()).decode())

    @asynccontextmanager
    async def listening(self, call: Any, options: QueueOptions = _FAST, *outputs: Output) -> AsyncGenerator[QueueListener]:
        queues = Queues(options, self.settings)
        invoker = Invoker(cast("Clients", None), queues, folder=Path(), threads=4, timeout=None)
        function = triggered(call, QueueTrigger(self.name, "", "msg"), *outputs)
        listener = queues.listener(function, cast("QueueTrigger", function.trigger), invoker)
        listener.start()
        try:
            yield listener
        finally:
            await listener.stop(timedelta(seconds=10))
            invoker.close()
            await queues.close()

    async def left(self) -> list[str]:
        """What others could take now."""
        return [message.text for message in await self.queue.receive(32, _HOLD)]


@pytest.fixture
async def lab(azurite: str) -> AsyncGenerator[Lab]:
    async with httpx.AsyncClient() as client:
        yield Lab(client, azurite)


async def until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - another process works for it
            await asyncio.sleep(0.02)


async def arrival(queue: StorageQueue) -> bytes:
    """The first message."""
    async with asyncio.timeout(30):
        while not (found := await queue.receive(1, _HOLD)):  # noqa: ASYNC110 - another process works for it
            await asyncio.sleep(0.05)
    return base64.b64decode(found[0].text)


@pytest.mark.parametrize("text", ["plain", "<a>&amp;\"'</a>", "zwei\r\nZeilen\n", "ä€🎉", " spaces "])
async def test_a_message_arrives_as_it_was_sent(lab: Lab, text: str) -> None:
    await lab.queue.put(text)
    [message] = await lab.queue.receive(1, _HOLD)
    assert (message.text, message.dequeue_count) == (text, 1)
    assert message.inserted < message.time_next_visible < message.expires
    assert await lab.queue.receive(1, _HOLD) == []
    receipt = await lab.queue.hide(message.id, message.pop_receipt, timedelta(0))
    assert receipt is not None
    [again] = await lab.queue.receive(1, _HOLD)
    assert (again.text, again.dequeue_count) == (text, 2)
    assert not await lab.queue.delete(message.id, receipt)
    assert await lab.queue.delete(again.id, again.pop_receipt)
    assert await lab.queue.hide(again.id, again.pop_receipt, _HOLD) is None


async def test_a_queue_that_is_not_there_is_empty_until_somebody_sends(lab: Lab) -> None:
    assert await lab.queue.receive(1, _HOLD) == []


async def test_a_wrong_key_is_told_with_the_services_reason(lab: Lab) -> None:
    async with httpx.AsyncClient() as client:
        wrong = StorageQueue(client, replace(lab.account, key=b"wrong"), lab.name)
        with pytest.raises(QueueServiceError, match=f"queue '{lab.name}' .*answered 403 AuthenticationFailed"):
            await wrong.receive(1, _HOLD)


async def test_nobody_there_is_told_with_the_address(lab: Lab) -> None:
    async with httpx.AsyncClient() as client:
        gone = StorageQueue(client, QueueAccount.parse(connection_string("http://127.0.0.1:1")), lab.name)
        with pytest.raises(QueueServiceError, match=r"127\.0\.0\.1:1/devstoreaccount1 can't be reached"):
            await gone.receive(1, _HOLD)


async def test_each_message_is_handled_once_and_then_gone(lab: Lab) -> None:
    seen: list[tuple[str, int | None]] = []

    def handle(msg: func.QueueMessage) -> None:
        seen.append((msg.get_body().decode(), msg.dequeue_count))

    for number in range(40):
        await lab.put(f"m{number}")
    async with lab.listening(handle):
        await until(lambda: len(seen) == 40)
    assert sorted(seen) == sorted((f"m{number}", 1) for number in range(40))
    assert await lab.left() == []


async def test_text_that_is_not_base64_is_handled_as_it_is(lab: Lab) -> None:
    seen: list[Any] = []

    async def handle(msg: func.QueueMessage) -> None:
        seen.append(msg.get_json())

    await lab.queue.put('{"plain": 1}')
    async with lab.listening(handle):
        await until(lambda: seen)
    assert seen == [{"plain": 1}]


async def test_with_encoding_none_nothing_is_decoded(lab: Lab) -> None:
    seen: list[bytes] = []

    async def handle(msg: func.QueueMessage) -> None:
        seen.append(msg.get_body())

    await lab.queue.put("abcd")
    async with lab.listening(handle, replace(_FAST, base64=False)):
        await until(lambda: seen)
    assert seen == [b"abcd"]


async def test_a_message_that_keeps_failing_ends_in_the_poison_queue(lab: Lab) -> None:
    tries: list[int | None] = []

    def fail(msg: func.QueueMessage) -> None:
        tries.append(msg.dequeue_count)
        raise ValueError("never")

    await lab.put("bad")
    async with lab.listening(fail):
        await until(lambda: len(tries) == 5)
    [poisoned] = await lab.poison.receive(32, _HOLD)
    assert base64.b64decode(poisoned.text) == b"bad"
    assert tries == [1, 2, 3, 4, 5]
    assert await lab.left() == []


async def test_a_message_that_ended_its_host_each_time_is_not_tried_again(lab: Lab) -> None:
    seen: list[object] = []
    await lab.put("crash")
    for _ in range(5):
        [message] = await lab.queue.receive(1, _HOLD)
        await lab.queue.hide(message.id, message.pop_receipt, timedelta(0))

    async def handle(msg: func.QueueMessage) -> None:
        seen.append(msg)

    async with lab.listening(handle):
        assert await arrival(lab.poison) == b"crash"
    assert seen == []


async def test_a_failure_is_tried_again_after_its_pause_and_may_succeed(lab: Lab) -> None:
    tries: list[int | None] = []

    def third(msg: func.QueueMessage) -> None:
        tries.append(msg.dequeue_count)
        if len(tries) < 3:
            raise ValueError("not yet")

    await lab.put("x")
    async with lab.listening(third):
        await until(lambda: len(tries) == 3)
    assert await lab.left() == []
    assert await lab.poison.receive(1, _HOLD) == []


async def test_nobody_else_gets_a_message_while_it_is_handled_however_long_that_takes(lab: Lab) -> None:
    options = replace(_FAST, hold=timedelta(seconds=1))
    seen: list[int | None] = []
    done = asyncio.Event()

    async def slow(msg: func.QueueMessage) -> None:
        seen.append(msg.dequeue_count)
        await asyncio.sleep(3)
        done.set()

    await lab.put("long")
    async with lab.listening(slow, options), lab.listening(slow, options):
        await asyncio.wait_for(done.wait(), 30)
        await asyncio.sleep(0.3)
    assert seen == [1]
    assert await lab.left() == []


async def test_stopping_lets_what_is_being_handled_end(lab: Lab) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def slow(msg: func.QueueMessage) -> None:
        began.set()
        await asyncio.sleep(0.3)
        ended.set()

    await lab.put("x")
    async with lab.listening(slow):
        await asyncio.wait_for(began.wait(), 30)
    assert ended.is_set()
    assert await lab.left() == []


async def test_no_more_than_a_batch_and_the_threshold_are_handled_at_once(lab: Lab) -> None:
    running = most = handled = 0

    async def count(msg: func.QueueMessage) -> None:
        nonlocal running, most, handled
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1
        handled += 1

    for number in range(20):
        await lab.put(str(number))
    async with lab.listening(count, replace(_FAST, batch_size=4, new_batch_threshold=2)):
        await until(lambda: handled == 20)
    assert 4 <= most <= 6


def output(name: str, parameter: str) -> Output:
    return Output("queue", parameter, name, "AzureWebJobsStorage")


async def test_outputs_are_on_the_queue_before_the_caller_gets_the_answer(lab: Lab) -> None:
    def send(req: func.HttpRequest, out: func.Out[Any]) -> str:
        out.set([req.params["text"], b"bytes", func.QueueMessage(body="message"), {"a": 1}])
        return "sent"

    function: TriggeredFunction = http(send, outputs=(Output("http", "$return", "", ""), output("%QUEUE%", "out")))
    async with served(function, app_settings={**lab.settings, "QUEUE": lab.name}) as client:
        response = await client.get("/api/send?text=ä")
        texts = [base64.b64decode(text) for text in await lab.left()]
    assert response.text == "sent"
    assert sorted(texts) == sorted(["ä".encode(), b"bytes", b"message", b'{"a":1}'])


async def test_what_a_queue_function_returns_goes_to_its_output_queue(lab: Lab) -> None:
    async def forward(msg: func.QueueMessage) -> str:
        return msg.get_body().decode().upper()

    await lab.put("x")
    results = StorageQueue(lab.queue._http, lab.account, f"{lab.name}-out")  # noqa: SLF001
    async with lab.listening(forward, _FAST, output(results.name, "$return")):
        assert await arrival(results) == b"X"


async def test_a_failed_output_fails_the_function_and_its_message_comes_back(lab: Lab) -> None:
    tries: list[int | None] = []

    async def forward(msg: func.QueueMessage) -> Any:
        tries.append(msg.dequeue_count)
        return object() if len(tries) == 1 else None

    await lab.put("x")
    async with lab.listening(forward, _FAST, output(f"{lab.name}-out", "$return")):
        await until(lambda: len(tries) == 2)
    assert tries == [1, 2]


async def test_an_application_listens_on_its_queues(lab: Lab) -> None:
    seen: list[bytes] = []

    def handle(msg: func.QueueMessage) -> None:
        seen.append(msg.get_body())

    await lab.put("hello")
    function = queue(handle, "%QUEUE%", "MyStorage")
    app_settings = {"AzureWebJobsMyStorage": lab.settings["AzureWebJobsStorage"], "QUEUE": lab.name}
    async with served(function, app_settings=app_settings):
        await until(lambda: seen)
    assert seen == [b"hello"]
