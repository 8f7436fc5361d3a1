"""What the backup does to disks. Nothing here knows of Perdure: plain functions that can be run again after any crash."""

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

from examples.backup.errors import BackupDamagedError, SourceError
from examples.backup.layout import Layout
from examples.backup.model import CopiedFile, CopyOrder, Manifest, Plan, Selection

BATCH_FILES = 2000
COPIES_AT_ONCE = 8
"""What a worker should allow: enough to keep a disk busy."""
_CHUNK = 1024 * 1024
_DEMO_SECONDS = 2.0
_LONG_ENOUGH_FILES = 2000
_LONG_ENOUGH_BYTES = 1024**3
_LONGEST_PAUSE = 0.5


def check_source(source: Path) -> None:
    """Guarantees a directory that can be listed.

    Raises:
        SourceError: it isn't one.
    """
    if not source.exists():
        raise SourceError(f"'{source}' does not exist. Name a directory to back up.")
    if not source.is_dir():
        raise SourceError(f"'{source}' is not a directory. Name the directory that it is in.")
    if not os.access(source, os.R_OK | os.X_OK):
        raise SourceError(f"The directory '{source}' can't be read. Run this as a user who may, or change its permissions.")


def make_plan(source: Path, target: Path, selection: Selection, *, demo: bool = False) -> Plan:
    """Writes down the names of all files, batch by batch, so that no payload grows with the tree.

    Raises:
        SourceError: there is nothing to back up, or something that can't be.
    """
    check_source(source)
    layout = Layout(target)
    layout.prepare()
    names = iter(_checkout_names(source) if selection is Selection.CHECKOUT else _all_names(source, exclude=target))
    plan = Plan(files=0, bytes=0, batches=0, skipped=0)
    unreadable: list[str] = []
    while batch := list(islice(names, BATCH_FILES)):
        regular = [name for name in batch if _is_regular(source / name)]
        unreadable += [name for name in regular if not os.access(source / name, os.R_OK)]
        plan = replace(
            plan,
            files=plan.files + len(regular),
            bytes=plan.bytes + sum((source / name).stat().st_size for name in regular),
            batches=plan.batches + 1,
            skipped=plan.skipped + len(batch) - len(regular),
        )
        layout.batch(plan.batches - 1).write_text(json.dumps(regular))
    if unreadable:
        raise SourceError(
            f"{len(unreadable)} file(s) in '{source}' can't be read: {_some(unreadable)}. "
            "Run this as a user who may, change their permissions, or choose another directory."
        )
    if not plan.files:
        raise SourceError(f"There is no file to back up in '{source}'.")
    plan = replace(plan, pause_seconds=_demo_pause(plan) if demo else 0.0)
    partial = layout.partial("plan")
    partial.write_text(json.dumps(asdict(plan)))
    partial.replace(layout.plan)
    return plan


def read_batch(target: Path, batch: int) -> list[str]:
    """The names in one batch of the plan."""
    return json.loads(Layout(target).batch(batch).read_text())


def copy_file(order: CopyOrder, key: str) -> CopiedFile:
    """The file is in the target directory, whole and synced, when this returns; never a part of it under its own name.

    ``key`` identifies the call. Where an earlier run with the same key has finished, the file is not copied again.
    """
    layout = Layout(order.target)
    destination = layout.files / order.path
    receipt = layout.receipt(key)
    finished = _finished(receipt, destination)
    if finished is not None:
        _log(layout, "found", finished.path, finished.bytes)
        return replace(finished, reused=True)
    partial = layout.partial(key)
    partial.unlink(missing_ok=True)
    destination.parent.mkdir(parents=True, exist_ok=True)
    _log(layout, "begin", order.path, 0)
    if order.pause_seconds:
        time.sleep(order.pause_seconds)
    source = Path(order.source) / order.path
    with source.open("rb") as reader, partial.open("xb") as writer:
        digest = hashlib.sha256()
        size = 0
        while chunk := reader.read(_CHUNK):
            digest.update(chunk)
            size += writer.write(chunk)
        writer.flush()
        os.fsync(writer.fileno())
    shutil.copystat(source, partial)
    copied = CopiedFile(order.path, size, digest.hexdigest())
    # The receipt comes first: once the file has its name, a later run must be able to see that it is complete. It needs no
    # fsync, because one that is lost or torn only means that the file is copied once more.
    receipt.write_text(json.dumps([copied.path, copied.bytes, copied.sha256]))
    partial.replace(destination)
    _sync_folder(destination.parent)
    _log(layout, "end", order.path, size)
    return copied


def write_part(target: Path, batch: int, files: Iterable[CopiedFile]) -> None:
    """One batch's lines of the manifest are on disk."""
    lines = (json.dumps({"path": file.path, "bytes": file.bytes, "sha256": file.sha256}) + "\n" for file in files)
    Layout(target).part(batch).write_text("".join(lines))


def write_manifest(target: Path, batches: int) -> Manifest:
    """The manifest lists every file, and appears whole or not at all."""
    layout = Layout(target)
    partial = layout.partial("manifest")
    digest = hashlib.sha256()
    files = 0
    with partial.open("wb") as writer:
        for batch in range(batches):
            part = layout.part(batch).read_bytes()
            digest.update(part)
            files += part.count(b"\n")
            writer.write(part)
        writer.flush()
        os.fsync(writer.fileno())
    partial.replace(layout.manifest)
    _sync_folder(layout.manifest.parent)
    return Manifest(str(target), layout.manifest.name, digest.hexdigest(), files)


def verify_manifest(manifest: Manifest, go_on: Callable[[], None]) -> int:
    """Reads every file of the manifest again; the number of files that are as they should be, which is all of them.

    Args:
        manifest: what to verify.
        go_on: called before each file; may raise to stop.

    Raises:
        BackupDamagedError: something is missing or different.
    """
    layout = Layout(manifest.target)
    if _sha256(layout.manifest) != manifest.sha256:
        raise BackupDamagedError(f"The manifest '{layout.manifest}' was changed after it was written.")
    damaged: list[str] = []
    with layout.manifest.open() as lines:
        for line in lines:
            go_on()
            entry = json.loads(line)
            copy = layout.files / entry["path"]
            if not copy.is_file() or _sha256(copy) != entry["sha256"]:
                damaged.append(entry["path"])
    if damaged:
        raise BackupDamagedError(f"{len(damaged)} file(s) in '{layout.files}' are missing or damaged: {_some(damaged)}.")
    return manifest.files


def _demo_pause(plan: Plan) -> float:
    """What each copy waits so that ``COPIES_AT_ONCE`` of them take some two seconds in all; nothing where the tree is large."""
    if plan.files >= _LONG_ENOUGH_FILES or plan.bytes >= _LONG_ENOUGH_BYTES:
        return 0.0
    return min(_DEMO_SECONDS * COPIES_AT_ONCE / plan.files, _LONGEST_PAUSE)


def _all_names(source: Path, exclude: Path) -> Iterator[str]:
    def complain(error: OSError) -> None:
        raise SourceError(f"The directory '{error.filename}' can't be listed: {error.strerror}.") from error

    excluded = exclude.resolve()
    for folder, folders, files in os.walk(source, onerror=complain):
        here = Path(folder)
        # Sorted, so that the plan of an unchanged tree doesn't change; and a backup never contains itself.
        folders[:] = sorted(name for name in folders if (here / name).resolve() != excluded)
        for name in sorted([*files, *(name for name in folders if (here / name).is_symlink())]):
            yield _readable_name((here / name).relative_to(source))


def _checkout_names(source: Path) -> Iterator[str]:
    command = ["git", "-C", str(source), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listing = subprocess.run(command, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise SourceError(f"git can't list the files of '{source}': {error}.") from error
    # --cached also names files that were deleted from the disk.
    names = sorted({os.fsdecode(name) for name in listing.split(b"\0") if name})
    return (_readable_name(Path(name)) for name in names if os.path.lexists(source / name))


def _readable_name(path: Path) -> str:
    try:
        path.as_posix().encode()
    except UnicodeEncodeError:
        raise SourceError(
            f"The name of {os.fsencode(path)!r} is not UTF-8, so a JSON manifest can't hold it. Rename it."
        ) from None
    return path.as_posix()


def _is_regular(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _finished(receipt: Path, destination: Path) -> CopiedFile | None:
    with suppress(OSError, ValueError, TypeError):
        copied = CopiedFile(*json.loads(receipt.read_text()))
        if _sha256(destination) == copied.sha256:
            return copied
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as reader:
        return hashlib.file_digest(reader, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _log(layout: Layout, what: str, path: str, size: int) -> None:
    # One write to a file opened for appending: lines of several threads, and of processes that get killed, never mix.
    descriptor = os.open(layout.copies, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, (json.dumps([what, path, size]) + "\n").encode())
    finally:
        os.close(descriptor)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
