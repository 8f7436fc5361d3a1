"""Where a figure was measured; without that it means nothing."""

import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def machine(directory: Path) -> dict[str, Any]:
    """Facts about this machine, and about the disk under ``directory``."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "file_system": _file_system(directory),
        "fdatasync_us": round(fdatasync_us(directory)),
        "load": round(os.getloadavg()[0], 1),
    }


def revision(source: Path = ROOT) -> str:
    """The git commit of the code that runs; ``+`` marks changes since."""
    try:
        commit = _git(source, "rev-parse", "--short", "HEAD")
        return commit + ("+" if _git(source, "status", "--porcelain", "--", "src") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def fdatasync_us(directory: Path, times: int = 100) -> float:
    """Median time to append 4 KiB and have it on disk."""
    path = directory / "fdatasync.probe"
    sync = getattr(os, "fdatasync", os.fsync)
    taken: list[float] = []
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    try:
        for _ in range(times):
            os.write(fd, bytes(4096))
            begun = time.perf_counter()
            sync(fd)
            taken.append(time.perf_counter() - begun)
    finally:
        os.close(fd)
        path.unlink()
    return statistics.median(taken) * 1e6


def _git(source: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", source, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _file_system(directory: Path) -> str:
    if sys.platform != "linux":
        return "unknown"
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    path = str(directory.resolve())
    under = [(len(mount), kind) for mount, kind in mounts if path == mount or path.startswith(mount.rstrip("/") + "/")]
    return max(under)[1] if under else "unknown"
