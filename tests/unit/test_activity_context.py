import asyncio
import threading

import pytest

from perdure.engine.activities import CancellationToken, activity_context
from perdure.engine.activities.errors import ActivityCancelledError, ActivityContextError


def test_outside_of_an_activity_the_context_is_a_clear_error() -> None:
    with pytest.raises(ActivityContextError, match="outside of an activity"):
        activity_context()


def test_a_token_changes_once() -> None:
    token = CancellationToken()
    assert not token.is_cancelled
    token.raise_if_cancelled()
    assert not token.wait(0)
    token.cancel()
    token.cancel()
    assert token.is_cancelled
    assert token.wait()
    with pytest.raises(ActivityCancelledError):
        token.raise_if_cancelled()


def test_cancelling_wakes_all_who_wait() -> None:
    token = CancellationToken()
    seen: list[bool] = []
    threads = [threading.Thread(target=lambda: seen.append(token.wait(60))) for _ in range(3)]
    for thread in threads:
        thread.start()
    token.cancel()
    for thread in threads:
        thread.join(30)
    assert seen == [True] * 3


def test_waiting_in_small_steps_leaves_nothing_behind() -> None:
    token = CancellationToken()
    for _ in range(100):
        assert not token.wait(-1)
    assert not token._gates  # noqa: SLF001


async def test_a_token_refuses_to_block_the_event_loop() -> None:
    token = CancellationToken()
    with pytest.raises(ActivityContextError, match="would block the event loop"):
        token.wait(1)
    waiting = asyncio.create_task(asyncio.to_thread(token.wait, 60))
    token.cancel()
    assert await waiting
