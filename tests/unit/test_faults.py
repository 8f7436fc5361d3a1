import asyncio

import pytest

from perdure.store.contract import Commit, InstanceQuery
from perdure.store.errors import LeaseLostError, StoreUnavailableError
from perdure.store.memory import MemoryData, MemoryStore
from perdure.testing.faults import Fault, FaultyStore, NthCall, SeededFaults, incremental, nth
from perdure.testing.store_checks.harness import HOUR, OpenHub, activity, first_turn, member, next_turn, segment, sharing_of
from perdure.testing.store_suite import CONTRACT, SHARING_CONTRACT, Check

METHODS = {
    "open": lambda store: store.open(),
    "close": lambda store: store.close(),
    "now": lambda store: store.now(),
    "acquire": lambda store: store.acquire("engine-2", [0], HOUR),
    "release": lambda store: store.release([]),
    "commit": lambda store: store.commit(Commit(leases=[], turns=[])),
    "load": lambda store: store.load(["a"]),
    "inbox": lambda store: store.inbox([0], (), 10),
    "with_pending": lambda store: store.with_pending([0], "", 10),
    "due": lambda store: store.due([0], (0, ""), 10),
    "get": lambda store: store.get("a"),
    "list": lambda store: store.list(InstanceQuery()),
    "count": lambda store: store.count(),
    "history": lambda store: store.history("a"),
    "beat": lambda store: store.sharing.beat(member("engine-1"), [], [], HOUR),
    "leave": lambda store: store.sharing.leave("engine-1"),
    "claim": lambda store: store.sharing.claim("engine-1", ["copy"], 1, HOUR),
    "offered": lambda store: store.sharing.offered([0]),
    "still_stored": lambda store: store.sharing.still_stored(["m1"]),
    "backlog": lambda store: store.sharing.backlog(),
    "nudge": lambda store: store.sharing.nudge("hello"),
}
never = SeededFaults(0, 0.0, [*METHODS], [Fault("before")])


async def faulty_hub(plan: NthCall | SeededFaults) -> tuple[OpenHub, FaultyStore]:
    store = FaultyStore(MemoryStore(shared=True), plan)
    await store.open()
    return OpenHub(store, await store.acquire("engine-1", range(16), HOUR)), store


class FaultyMemoryHarness:
    exclusive = False

    def __init__(self, *, shared: bool) -> None:
        self.data = MemoryData()
        self.time = 1_800_000_000_000_000
        self._shared = shared

    def store(self) -> FaultyStore:
        return FaultyStore(MemoryStore(self.data, clock=lambda: self.time, shared=self._shared), never)

    def advance(self, microseconds: int) -> None:
        self.time += microseconds


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
async def test_without_a_fault_it_keeps_the_contract(check: Check) -> None:
    await check(FaultyMemoryHarness(shared=False))


@pytest.mark.parametrize("check", SHARING_CONTRACT, ids=lambda check: check.__name__)
async def test_without_a_fault_it_keeps_the_contract_of_a_shared_hub(check: Check) -> None:
    await check(FaultyMemoryHarness(shared=True))


@pytest.mark.parametrize("method", ["beat", "claim", "nudge"])
async def test_a_failure_of_sharing_takes_effect_as_it_says(method: str) -> None:
    before, after = {"beat": 0, "claim": 1, "nudge": 0}, {"beat": 1, "claim": 0, "nudge": 1}
    for when, wanted in (("before", before), ("after", after)):
        inner = MemoryStore(shared=True)
        store = FaultyStore(inner, nth(1, method, when=when))  # pyright: ignore[reportArgumentType]
        heard: list[str | None] = []
        sharing_of(store).listen(heard.append)
        await store.open()
        await store.commit(Commit(leases=[], turns=[], offered=[activity("t1")]))
        with pytest.raises(StoreUnavailableError):
            await METHODS[method](store)
        await asyncio.sleep(0)
        backlog = await sharing_of(inner).backlog()
        found = {"beat": len(backlog.members), "claim": backlog.activities, "nudge": len(heard)}
        assert found[method] == wanted[method]


async def test_where_a_lease_was_lost_the_member_lives_all_the_same() -> None:
    _, store = await faulty_hub(nth(1, "beat", when="before", error=LeaseLostError))
    with pytest.raises(LeaseLostError):
        await METHODS["beat"](store)
    assert (await sharing_of(store).backlog()).members == [member("engine-1")]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_every_method_can_fail_at_its_nth_call(method: str, when: str) -> None:
    plan = nth(2, method, when=when)  # pyright: ignore[reportArgumentType]
    store = FaultyStore(MemoryStore(shared=True), plan)
    if method != "open":
        await store.open()
    if method == "close":
        await store.close()
    else:
        await METHODS[method](store)
    with pytest.raises(StoreUnavailableError, match=f"{method} failed {when}"):
        await METHODS[method](store)
    assert plan.fired
    await store.open()
    await METHODS[method](store)


@pytest.mark.parametrize("method", METHODS)
async def test_every_method_can_hang_until_it_is_let_go(method: str) -> None:
    inner = MemoryStore(shared=True)
    await inner.open()
    store = FaultyStore(inner, nth(1, method, when="hang"))
    call = asyncio.ensure_future(METHODS[method](store))
    await store.hanging()
    assert not call.done()
    store.let_go()
    await call


async def test_before_means_nothing_was_written_and_after_means_all_of_it_was() -> None:
    for when, written in (("before", {}), ("after", {"Running": 1})):
        hub, _ = await faulty_hub(nth(1, "commit", when=when))  # pyright: ignore[reportArgumentType]
        with pytest.raises(StoreUnavailableError):
            await hub.commit(first_turn("a"))
        assert await hub.store.count() == written


async def test_a_lost_lease_promises_that_nothing_was_written() -> None:
    hub, _ = await faulty_hub(nth(1, "commit", when="before", error=LeaseLostError))
    with pytest.raises(LeaseLostError):
        await hub.commit(first_turn("a"))
    assert await hub.store.count() == {}
    for when in ("after", "hang"):
        with pytest.raises(ValueError, match="nothing was written"):
            nth(1, "commit", when=when, error=LeaseLostError)


@pytest.mark.parametrize(("when", "written"), [("before", [1]), ("after", [1, 2])])
async def test_commits_called_before_the_failure_was_raised_fail_with_it(when: str, written: list[int]) -> None:
    hub, _ = await faulty_hub(nth(2, "commit", when=when))  # pyright: ignore[reportArgumentType]
    await hub.commit(first_turn("a"))
    outcomes = await asyncio.gather(*(hub.commit(next_turn("a", seq)) for seq in (2, 3, 4)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailableError] * 3
    assert await hub.seqs("a") == written
    await hub.commit(next_turn("a", 5))
    assert await hub.seqs("a") == [*written, 5]


async def test_commits_stay_in_order_behind_one_that_hangs() -> None:
    hub, store = await faulty_hub(nth(2, "commit", when="hang"))
    await hub.commit(first_turn("a"))
    commits = [asyncio.ensure_future(hub.commit(next_turn("a", 2)))]
    await store.hanging()
    commits += [asyncio.ensure_future(hub.commit(next_turn("a", 3), next_turn("a", 4)))]
    await asyncio.sleep(0)
    assert await hub.seqs("a") == [1]
    store.let_go()
    # Called when the way is free again, but behind one that still waits.
    commits += [asyncio.ensure_future(hub.commit(next_turn("a", 5)))]
    finished: list[int] = []
    for number, commit in enumerate(commits):
        commit.add_done_callback(lambda _, number=number: finished.append(number))
    await asyncio.gather(*commits)
    assert finished == [0, 1, 2]
    assert (await hub.store.load(["a"]))["a"].segments == [segment(seq) for seq in range(1, 6)]


async def test_a_commit_cancelled_while_it_hangs_takes_those_behind_it_along() -> None:
    hub, store = await faulty_hub(nth(2, "commit", when="hang"))
    await hub.commit(first_turn("a"))
    hung = asyncio.ensure_future(hub.commit(next_turn("a", 2)))
    await store.hanging()
    behind = asyncio.ensure_future(hub.commit(next_turn("a", 3)))
    await asyncio.sleep(0)
    hung.cancel()
    with pytest.raises(StoreUnavailableError):
        await behind
    assert await hub.seqs("a") == [1]
    await hub.commit(next_turn("a", 2))
    assert await hub.seqs("a") == [1, 2]


async def test_incremental_plans_meet_every_call_once_and_then_end() -> None:
    met: list[int] = []
    for plan in incremental("commit", "count", when="before"):
        hub, store = await faulty_hub(plan)
        try:
            await hub.commit(first_turn("a"))
            await store.now()
            await store.count()
            await hub.commit(next_turn("a", 2))
        except StoreUnavailableError:
            met.append(plan.n)
        else:
            assert not plan.fired
    assert met == [1, 2, 3]


async def fates(plan: SeededFaults) -> list[str]:
    hub, store = await faulty_hub(plan)
    fates: list[str] = []
    for number in range(200):
        try:
            await hub.commit(first_turn(f"i{number}"))
            fates.append("written")
        except (StoreUnavailableError, LeaseLostError) as error:
            fates.append(str(error))
    await store.count()
    return fates


async def test_the_same_seed_fails_the_same_calls() -> None:
    faults = [Fault("before"), Fault("after"), Fault("before", LeaseLostError)]
    first, again, other = [SeededFaults(seed, 0.3, ["commit"], faults) for seed in (1, 1, 2)]
    fates_of_first = await fates(first)
    assert fates_of_first == await fates(again) != await fates(other)
    assert first.fired == {"commit": 200 - fates_of_first.count("written")}
    assert 20 < first.fired["commit"] < 120
    assert len(set(fates_of_first)) == 4
    assert "seed 1" in repr(first)
