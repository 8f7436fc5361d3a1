"""The worlds in which orchestrations are tested."""

import pytest

pytest.register_assert_rewrite("tests.unit.driver")

from tests.unit.driver import World  # noqa: E402 - after pytest knows that its assertions explain themselves


@pytest.fixture(params=["generator-hot", "generator-evicted", "coroutine-hot", "coroutine-evicted"])
def world(request: pytest.FixtureRequest) -> World:
    """Both styles, with sessions that stay in memory and with sessions that are rebuilt before every turn."""
    style, memory = request.param.split("-")
    return World(style, evict=memory == "evicted")
