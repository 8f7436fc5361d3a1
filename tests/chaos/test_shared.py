"""Several real engine processes on one PostgreSQL hub: killed, paused past their leases, cut off, their server restarted.

``PERDURE_CHAOS_SEED`` repeats a seed (not its timing), ``PERDURE_SHARED_BLOWS`` sets how often something happens.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from perdure.core.codec import decode_segment
from perdure.core.events import EntityStateSaved, ExecutionCompleted, ExecutionStarted, TaskCompleted
from perdure.store.contract import InstanceQuery
from perdure.store.postgres import PostgresStore
from tests.chaos.shared_worker import CHILDREN, EVENTS, LEASE
from tests.postgres import Cluster, Database, running_cluster

BLOWS = int(os.environ.get("PERDURE_SHARED_BLOWS", "9"))
ENGINES = 3


class Engines:
    """The processes, and what they said."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.lives = 0
        self.running: list[subprocess.Popen[bytes]] = []

    def begin(self, *options: str) -> subprocess.Popen[bytes]:
        self.lives += 1
        name = f"w{self.lives}"
        command = [sys.executable, "-m", "tests.chaos.shared_worker", self.url, str(self.folder / f"{name}.log"), name, *options]
        with (self.folder / "errors").open("ab") as errors:
            process = subprocess.Popen(command, stderr=errors, env=os.environ | {"PYTHONHASHSEED": "0"})
        self.running.append(process)
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        self.running.remove(process)

    def errors(self) -> str:
        return (self.folder / "errors").read_text()[-5000:]

    def said(self) -> Iterator[list[str]]:
        for log in sorted(self.folder.glob("w*.log")):
            for line in log.read_text().splitlines():
                yield line.split()


def blow(kind: str, engines: Engines, cluster: Cluster, luck: random.Random) -> None:
    """Something bad happens."""
    victim = luck.choice(engines.running)
    match kind:
        case "kill":
            engines.kill(victim)
            engines.begin()
        case "leave":
            victim.send_signal(signal.SIGTERM)
            assert victim.wait(60) == 0, engines.errors()
            engines.running.remove(victim)
            engines.begin()
        case "pause":
            victim.send_signal(signal.SIGSTOP)
            time.sleep(LEASE.total_seconds() * luck.uniform(1.2, 2))
            victim.send_signal(signal.SIGCONT)
        case "cut":
            database = Database(cluster.url)
            database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = 'postgres'"
            )
            database.close()
        case "restart":
            cluster.stop(luck.choice([signal.SIGINT, signal.SIGQUIT]))
            time.sleep(luck.uniform(0, 1))
            cluster.start()
        case _:
            raise AssertionError(kind)


async def check(engines: Engines) -> Counter[str]:
    """The invariants, from what is stored."""
    store = PostgresStore(engines.url)
    await store.open()
    try:
        said = Counter(word for word, *_ in engines.said())
        started = {words[1]: int(words[2]) for words in engines.said() if words[0] == "started"}
        records = {}
        after = ""
        while page := await store.list(InstanceQuery(after=after, limit=1000, with_payloads=True)):
            records.update({record.row.instance_id: record for record in page})
            after = page[-1].row.instance_id
        lost = set(started) - set(records)
        assert not lost, f"acknowledged and lost: {lost}"
        tallies: Counter[str] = Counter()
        conversations = 0
        for instance_id, record in records.items():
            assert record.last is not None
            last = decode_segment(record.last.events)[-1]
            if isinstance(last, EntityStateSaved):
                assert last.lock is None
                tallies[instance_id] = msgspec.json.decode(last.state or "0")
                continue
            assert isinstance(last, ExecutionCompleted), (instance_id, record.row.status)
            events = [event for segment in await store.history(instance_id) for event in decode_segment(segment.events)]
            done = Counter(event.task_id for event in events if isinstance(event, TaskCompleted))
            assert all(count == 1 for count in done.values()), f"{instance_id}: an activity completed twice"
            begun = next(event for event in events if isinstance(event, ExecutionStarted))
            if begun.name == "conversation":
                conversations += 1
                number = msgspec.json.decode(begun.input or "0")
                total = sum(2 * (number + offset) for offset in range(CHILDREN)) + 2 * number * CHILDREN
                assert msgspec.json.decode(last.result or "null") == [total, list(range(EVENTS)), True], instance_id
        signaled = tallies.pop("@tally@signals")
        assert said["signaled"] <= signaled <= said["signaling"]
        assert sum(tallies.values()) == conversations
        assert not await store.inbox(range(16), (), 10)
        assert (await store.sharing.backlog()).activities == 0
        return said
    finally:
        await store.close()


@pytest.mark.chaos
@pytest.mark.timeout(400)
def test_nothing_is_lost_or_done_twice_whatever_happens_to_engines_and_server(tmp_path: Path) -> None:
    seed = int(os.environ.get("PERDURE_CHAOS_SEED", random.randrange(10**6)))
    print(f"PERDURE_CHAOS_SEED={seed}")
    luck = random.Random(seed)
    # A crash of the server must not lose what it has acknowledged.
    with running_cluster({"fsync": "on", "full_page_writes": "on"}) as cluster:
        engines = Engines(tmp_path, f"{cluster.url}?schema=chaos")
        try:
            for _ in range(ENGINES):
                engines.begin()
            for number in range(BLOWS):
                time.sleep(luck.uniform(0.3, 1.5))
                kind = ["kill", "pause", "cut", "kill", "leave", "restart"][number % 6]
                blow(kind, engines, cluster, luck)
                ended = [process.returncode for process in engines.running if process.poll() is not None]
                assert not ended, f"seed {seed}, after '{kind}': {engines.errors()}"
            complete_what_was_begun(engines)
            print(seed, engines.lives, asyncio.run(check(engines)))
        finally:
            for process in list(engines.running):
                engines.kill(process)


def complete_what_was_begun(engines: Engines) -> None:
    """Talks that were cut short are said to the end, as a client would do; then two last engines finish everything."""
    for process in list(engines.running):
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, engines.errors()
        engines.running.remove(process)
    asyncio.run(say_the_rest(engines))
    last = [engines.begin("--finish") for _ in range(2)]
    for process in last:
        assert process.wait(120) == 0, engines.errors()
        engines.running.remove(process)


async def say_the_rest(engines: Engines) -> None:
    """The events that weren't acknowledged: those that the instance hasn't got."""
    import perdure as df
    from perdure.core.events import EventRaised
    from tests.chaos.shared_worker import app

    async with df.TaskHub(app, engines.url) as hub:
        store = PostgresStore(engines.url)
        await store.open()
        try:
            after = ""
            while page := await store.list(InstanceQuery(after=after, limit=1000, names=["conversation"])):
                after = page[-1].row.instance_id
                for record in page:
                    instance_id = record.row.instance_id
                    events = [event for segment in await store.history(instance_id) for event in decode_segment(segment.events)]
                    heard = [msgspec.json.decode(event.input or "null") for event in events if isinstance(event, EventRaised)]
                    for event in range(len(heard), EVENTS):
                        await hub.client.raise_event(instance_id, "say", event)
        finally:
            await store.close()
