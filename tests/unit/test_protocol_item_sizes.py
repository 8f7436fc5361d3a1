"""Which worker gets a large item, and when it isn't sent one any more."""

import pytest

pytest.importorskip("durabletask.internal.orchestrator_service_pb2")

from perdure.core.effects import DispatchActivity
from perdure.engine.remote.work import ActivityWork
from perdure.protocol.item_sizes import LARGE, Deliveries, ItemSizes

MOST = 10 * LARGE


class Desk:
    """Deliveries to one worker, and what was given back of them."""

    def __init__(self, sizes: ItemSizes, peer: str) -> None:
        self.now = 100.0
        self.open: set[str] = set()
        self.returned: list[str] = []
        self.deliveries = Deliveries(sizes, peer, lambda: self.now, self._give_back)

    def _give_back(self, token: str) -> bool:
        self.returned.append(token)
        return token in self.open

    def take(self, token: str, size: int) -> bool:
        self.open.add(token)
        call = DispatchActivity("i", "execution", 0, 1, "work", None, 1, "key")
        return self.deliveries.take(ActivityWork(token, call), size)


def test_what_everybody_takes_goes_to_everybody():
    sizes = ItemSizes(MOST)
    sizes.broke("a", 5)
    assert Desk(sizes, "a").take("t", LARGE)


def test_what_the_server_does_not_send_is_given_back():
    desk = Desk(ItemSizes(MOST), "a")
    assert desk.take("t", MOST)
    assert not desk.take("u", MOST + 1)
    assert desk.returned == ["u"]


def test_a_worker_that_has_left_at_a_large_item_gets_no_such_item_again(caplog: pytest.LogCaptureFixture):
    sizes = ItemSizes(MOST)
    desk = Desk(sizes, "a")
    assert desk.take("t", LARGE + 5)
    assert desk.take("answered", LARGE + 1)
    desk.open.discard("answered")
    desk.deliveries.gone()
    assert desk.returned == ["t", "answered"]
    assert "max_receive_message_length" in caplog.text
    assert not Desk(sizes, "a").take("u", LARGE + 5)
    assert Desk(sizes, "a").take("v", LARGE + 4)
    assert Desk(sizes, "b").take("w", LARGE + 5)


def test_a_worker_that_leaves_long_after_a_large_item_leaves_for_something_else():
    sizes = ItemSizes(MOST)
    desk = Desk(sizes, "a")
    assert desk.take("t", LARGE + 5)
    desk.now += 60
    desk.deliveries.gone()
    assert Desk(sizes, "a").take("u", LARGE + 5)


def test_only_so_many_workers_are_remembered():
    sizes = ItemSizes(MOST)
    for number in range(2000):
        sizes.broke(str(number), LARGE + 1)
    assert sizes.fits("0", LARGE + 1)
    assert not sizes.fits("1999", LARGE + 1)
