"""The keys that let callers in: a file that only its owner can read, made on first start."""

import os
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

import msgspec

from perdure.core.errors import PerdureError
from perdure.host.model import AuthLevel
from perdure.protocol.access import is_known

DURABLE_TASK = "durabletask"
"""The name of the system key of the durable management API."""
_OTHERS_MASK = stat.S_IRWXG | stat.S_IRWXO


class KeysFileError(PerdureError):
    """The keys file can't be used: unreadable, malformed, an empty key, or readable by others than its owner."""

    code = "PD4101"


class HostKeys(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """All keys of a host. Comparing takes the same time wherever a wrong key differs."""

    master_key: str
    """Opens everything."""
    function_keys: Mapping[str, str]
    """By name; open routes with ``auth_level`` function."""
    system_keys: Mapping[str, str]
    """By extension; ``durabletask`` opens the management API."""

    @classmethod
    def generate(cls) -> Self:
        """New random keys: the master key, a function key ``default``, and the system key ``durabletask``."""
        return cls(master_key=_new_key(), function_keys={"default": _new_key()}, system_keys={DURABLE_TASK: _new_key()})

    @property
    def durable_task_key(self) -> str:
        """What goes into the ``code=`` of management URLs."""
        return self.system_keys[DURABLE_TASK]

    def opens_route(self, level: AuthLevel, key: str | None) -> bool:
        """Whether a caller with this key may call an HTTP function of this level."""
        if level == "anonymous":
            return True
        others = self.function_keys.values() if level == "function" else ()
        return is_known(key, (self.master_key, *others))

    def opens_management(self, key: str | None) -> bool:
        """Whether a caller with this key may use the durable management API."""
        return is_known(key, (self.master_key, self.durable_task_key))


def load_or_create_keys(path: Path) -> HostKeys:
    """The keys in the file; where there is no file, it is made first, with new keys and mode 0600.

    Raises:
        KeysFileError: it can't be used; the message says why and what to do.
    """
    try:
        if not path.exists():
            _create(path, HostKeys.generate())
        return _load(path)
    except OSError as error:
        raise KeysFileError(f"the keys file {path} can't be used: {error}. Give another path, or fix its folder.") from error


def _create(path: Path, keys: HostKeys) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(keys)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a rename, can't replace the keys that another host has just made.
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()


def _load(path: Path) -> HostKeys:
    if os.name == "posix" and path.stat().st_mode & _OTHERS_MASK:
        mode = stat.S_IMODE(path.stat().st_mode)
        raise KeysFileError(f"the keys file {path} can be read by others (mode {mode:04o}). Run: chmod 600 {path}")
    try:
        keys = msgspec.json.decode(path.read_bytes(), type=HostKeys)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise KeysFileError(f"the keys file {path} is malformed: {error}. Fix it, or remove it to get new keys.") from error
    if DURABLE_TASK not in keys.system_keys:
        raise KeysFileError(
            f"the keys file {path} has no system key '{DURABLE_TASK}'. Add it, or remove the file to get new keys."
        )
    if not all((keys.master_key, *keys.function_keys.values(), *keys.system_keys.values())):
        raise KeysFileError(f"the keys file {path} has an empty key. Fill it in, or remove the file to get new keys.")
    return keys


def _new_key() -> str:
    return secrets.token_urlsafe(40)
