"""The bank of the examples, killed with SIGKILL again and again. ``PERDURE_CHAOS_SEED`` repeats a seed (not its timing)."""

import os
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from examples.bank_transfer import ACCOUNTS, START
from perdure.core.entity_saved import fold_entity
from perdure.core.events import EntityStateSaved

KILLS = int(os.environ.get("PERDURE_KILLS", "25"))
TRANSFERS = 600


def accounts(database: Path) -> dict[str, EntityStateSaved]:
    """What the file holds of them, seen from outside."""
    if not database.exists():
        return {}
    with closing(sqlite3.connect(database)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'instances'").fetchone():
            return {}
        rows = connection.execute(
            "SELECT instance_id, events FROM instances JOIN history USING (iid) WHERE instance_id LIKE '@account@%' ORDER BY seq"
        ).fetchall()
    segments: dict[str, list[bytes]] = {}
    for instance_id, segment in rows:
        segments.setdefault(instance_id, []).append(segment)
    return {instance_id: fold_entity(instance_id, found) for instance_id, found in segments.items()}


def balance(account: EntityStateSaved) -> int:
    return 0 if account.state is None else msgspec.json.decode(account.state)["balance"]


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_no_money_is_made_or_lost_however_often_the_bank_is_killed(tmp_path: Path) -> None:
    seed = int(os.environ.get("PERDURE_CHAOS_SEED", random.randrange(10**6)))
    print(f"PERDURE_CHAOS_SEED={seed}")
    luck = random.Random(seed)
    database = tmp_path / "bank.db"

    def bank() -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "examples.bank_transfer", str(database), str(TRANSFERS)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    kills = 0
    for _ in range(KILLS):
        life = bank()
        time.sleep(luck.uniform(0.2, 0.9))
        ended = life.poll()
        life.kill()
        _, errors = life.communicate()
        assert ended in (None, 0), f"seed {seed}, kill {kills}: {errors[-4000:]}"
        kills += ended is None
        found = accounts(database)
        assert all(balance(account) >= 0 for account in found.values())
        assert sum(balance(account) for account in found.values()) <= START * len(ACCOUNTS)
    last = bank()
    output, errors = last.communicate(timeout=150)
    assert last.returncode == 0, f"seed {seed}: {errors[-4000:]}"
    assert output.endswith(f"{START * len(ACCOUNTS)} in all accounts\n"), output
    for name, account in accounts(database).items():
        assert account.lock is None, f"{name} is still locked: {account.lock}"
        assert not account.waiting
    print(f"{kills} kills; {output}")
