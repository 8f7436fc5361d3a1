"""The host's process collects garbage seldom; a program that embeds Perdure keeps its own way."""

import subprocess
import sys


def told_by(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", f"import gc\n{code}"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_while_the_host_starts_nothing_is_collected_and_afterwards_seldom() -> None:
    shown = told_by(
        "from perdure.cli import garbage\n"
        "garbage.no_collections(); print(gc.isenabled())\n"
        "garbage.collect_seldom(); print(gc.isenabled(), gc.get_threshold(), gc.get_freeze_count() > 1000)"
    )
    assert shown.splitlines() == ["False", "True (10000, 20, 50) True"]


def test_the_library_changes_nothing() -> None:
    shown = told_by(
        "before = gc.get_threshold()\nimport perdure, perdure.cli.serving\nprint(gc.get_threshold() == before, gc.isenabled())"
    )
    assert shown == "True True"
