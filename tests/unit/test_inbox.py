"""The inbox reads each stored message once, and in order, whatever happens while it reads."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any

import pytest

from perdure.core.events import EventRaised
from perdure.core.messages import Message, encode_message
from perdure.engine import inbox as inbox_module
from perdure.engine.envelopes import Envelope, Origin
from perdure.engine.inbox import Inbox
from perdure.engine.stored_bodies import encode_request
from perdure.store.contract import StoredMessage
from perdure.store.errors import StoreUnavailableError

EVENT = EventRaised("go")


class SlowStore:
    """Messages that are looked up at once, and given when ``gate`` is open."""

    def __init__(self) -> None:
        self.messages: dict[str, StoredMessage] = {}
        self.reads: list[list[int]] = []
        self.broken = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def inbox(self, partitions: Sequence[int], known: Collection[str], limit: int) -> list[StoredMessage]:
        self.reads.append(sorted(partitions))
        wanted = [key for key, message in self.messages.items() if key not in known and message.partition in partitions]
        page = [self.messages[key] for key in sorted(wanted)[:limit]]
        await self.gate.wait()
        if self.broken == len(self.reads):
            raise StoreUnavailableError("broken")
        return page

    def put(self, *keys: str, partition: int = 0) -> None:
        for key in keys:
            self.messages[key] = StoredMessage(key, "i", partition, encode_message(Message("i", EVENT)))


class Desk:
    """An inbox, and what comes out of it."""

    def __init__(self) -> None:
        self.store = SlowStore()
        self.readable: Collection[int] = (0, 1)
        self.posted: list[Envelope] = []
        self.failures: list[BaseException] = []
        store: Any = self.store
        self.inbox = Inbox(store, lambda key: Answer(key), lambda: self.readable, self.posted.extend, self.failures.append)

    def consume(self, *keys: str) -> None:
        for key in keys:
            del self.store.messages[key]
        self.inbox.handled(keys)


class Answer:
    """A reply that nobody needs here."""

    def __init__(self, key: str) -> None:
        self.key = key

    def done(self) -> bool:
        return False

    def set_result(self, result: None, /) -> None:
        pass

    def set_exception(self, exception: Exception, /) -> None:
        pass


def ids(envelopes: Sequence[Envelope]) -> list[str]:
    return [envelope.message_id for envelope in envelopes]


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


def desk_test(test: Callable[[Desk], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        async def main() -> None:
            await test(Desk())

        asyncio.run(main())

    run.__name__ = test.__name__
    return run


@pytest.fixture(autouse=True)
def little_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "_PAGE", 2)
    monkeypatch.setattr(inbox_module, "_ALL", 2)
    monkeypatch.setattr(inbox_module, "_ENOUGH", 6)


@desk_test
async def test_each_message_comes_once_however_often_it_is_wanted(desk: Desk) -> None:
    desk.store.put("c", "a", "b")
    for _ in range(3):
        desk.inbox.want([0])
        await settle()
    assert ids(desk.posted) == ["a", "b", "c"]
    assert all(envelope.stored and envelope.origin is Origin.INSTANCE for envelope in desk.posted)


@desk_test
async def test_what_is_wanted_while_a_read_is_going_on_is_read_afterwards(desk: Desk) -> None:
    desk.store.put("a")
    desk.store.gate.clear()
    desk.inbox.want([0])
    await settle()
    desk.store.put("b")
    desk.inbox.want([0])
    desk.store.gate.set()
    await settle()
    assert ids(desk.posted) == ["a", "b"]


@desk_test
async def test_a_message_that_is_handled_during_a_read_does_not_come_again(desk: Desk) -> None:
    desk.store.put("a")
    desk.inbox.want([0])
    await settle()
    desk.store.put("b")
    desk.inbox.held.discard("a")  # as if a read that began before "a" was known were to find it
    desk.store.gate.clear()
    desk.inbox.want([0])
    await settle()
    desk.inbox.held.add("a")
    desk.consume("a")
    desk.store.gate.set()
    await settle()
    assert ids(desk.posted) == ["a", "b"]


@desk_test
async def test_a_page_that_was_full_is_followed_by_another_although_part_of_it_was_not_new(desk: Desk) -> None:
    desk.store.put("a", "b", "c")
    desk.store.gate.clear()
    desk.inbox.want([0])
    await settle()
    desk.inbox.held.add("a")
    desk.consume("a")
    desk.store.gate.set()
    await settle()
    assert ids(desk.posted) == ["b", "c"]


@desk_test
async def test_no_more_than_enough_is_in_memory(desk: Desk) -> None:
    keys = [f"m{number:02d}" for number in range(20)]
    desk.store.put(*keys)
    desk.inbox.want([0])
    await settle()
    assert ids(desk.posted) == keys[:6]
    for done in range(0, 20, 2):
        desk.consume(*keys[done : done + 2])
        await settle()
        assert len(desk.posted) == min(20, done + 2 + 6)
    assert ids(desk.posted) == keys


@desk_test
async def test_everything_is_read_at_once_and_what_is_fetched_comes_behind_it(desk: Desk) -> None:
    desk.store.put("a", "b", "c")
    desk.store.gate.clear()
    reading = asyncio.create_task(desk.inbox.everything([0, 1]))
    await settle()
    desk.store.put("d")
    desk.inbox.want([0])
    await settle()
    desk.store.gate.set()
    assert ids(await reading) == ["a", "b", "c", "d"]
    await settle()
    assert not desk.posted


@desk_test
async def test_what_everything_has_read_before_it_failed_is_read_again(desk: Desk) -> None:
    desk.store.put("a", "b", "c")
    desk.store.broken = 2
    with pytest.raises(StoreUnavailableError):
        await desk.inbox.everything([0])
    assert ids(await desk.inbox.everything([0])) == ["a", "b", "c"]


@desk_test
async def test_a_fetch_that_fails_is_reported_and_the_next_one_tries_again(desk: Desk) -> None:
    desk.store.put("a")
    desk.store.broken = 1
    desk.inbox.want([0])
    await settle()
    assert [type(error) for error in desk.failures] == [StoreUnavailableError]
    desk.inbox.stop()
    desk.inbox.want([0])
    await settle()
    assert ids(desk.posted) == ["a"]


@desk_test
async def test_partitions_that_are_coming_or_going_are_not_fetched(desk: Desk) -> None:
    desk.store.put("a", partition=0)
    desk.store.put("b", partition=1)
    desk.readable = (1,)
    desk.inbox.want([0, 1])
    await settle()
    assert desk.store.reads == [[1]]
    desk.readable = (0, 1)
    desk.inbox.want([0])
    await settle()
    assert ids(desk.posted) == ["b", "a"]


@desk_test
async def test_what_was_held_is_read_again_after_a_stop(desk: Desk) -> None:
    desk.store.put("a")
    desk.inbox.want([0])
    await settle()
    desk.inbox.stop()
    assert ids(await desk.inbox.everything([0])) == ["a"]


@desk_test
async def test_a_fetch_that_was_stopped_gives_nothing(desk: Desk) -> None:
    desk.store.put("a")
    desk.store.gate.clear()
    desk.inbox.want([0])
    await settle()
    desk.inbox.stop()
    desk.store.gate.set()
    await settle()
    assert not desk.posted
    assert not desk.inbox.held


@desk_test
async def test_requests_carry_their_answer_and_messages_of_instances_none(desk: Desk) -> None:
    asked: Any = asyncio.get_running_loop().create_future()
    request = encode_request(Envelope("i", None, Origin.CLIENT, reply=asked, purge=True))
    desk.store.put("a")
    desk.store.messages["b"] = StoredMessage("b", "i", 0, request)
    plain, purge = await desk.inbox.everything([0])
    assert plain.reply is None
    assert isinstance(purge.reply, Answer)
    assert purge.reply.key == "b"
    assert purge.purge
    assert purge.message is None
