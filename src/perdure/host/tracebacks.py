"""Tracebacks with the user's own frames. What the SDK wraps around the user's code would only hide it."""

import re
from collections.abc import Iterable
from types import TracebackType

import msgspec

from perdure.core.failures import FailureDetails

_SDK_FILE = re.compile(r"[/\\](?:durabletask|azure[/\\]durable_functions)[/\\]")
_WRAPPERS = ("wrap_activity_payloads.", "wrap_invocation.", "Blueprint.", "_activity_adapter")
"""Code of the SDK that says it were in the user's file, by the beginning of its qualified name."""
_FRAME = re.compile(r'^  File "(?P<file>[^"]*)", line \d+, in .*(?:\n(?!  File ").*)*', re.MULTILINE)


def users_trace(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame on that isn't the SDK's; all of it where all of it is."""
    first = trace
    while first is not None and _is_sdk(first.tb_frame.f_code.co_filename, first.tb_frame.f_code.co_qualname):
        first = first.tb_next
    return first or trace


def with_users_trace(failure: FailureDetails) -> FailureDetails:
    """A failure that the SDK describes, its tracebacks as those of code that the engine runs itself."""
    made: FailureDetails | None = None
    for link in reversed(list(failure.chain())):
        made = msgspec.structs.replace(link, traceback=_shown(link), cause=made)
    assert made is not None
    return made


def _shown(failure: FailureDetails) -> str | None:
    text = failure.traceback
    if not text or text.startswith("Traceback "):
        return text or None
    frames = [(found["file"], found[0].rstrip("\n")) for found in _FRAME.finditer(text)]
    users = [frame for file, frame in frames if not _is_sdk(file, "")] or [frame for _, frame in frames]
    return _joined(users, failure) if users else text


def _joined(frames: Iterable[str], failure: FailureDetails) -> str:
    return "\n".join(["Traceback (most recent call last):", *frames, f"{failure.type}: {failure.message}"])


def _is_sdk(file: str, qualified_name: str) -> bool:
    return _SDK_FILE.search(file) is not None or qualified_name.startswith(_WRAPPERS)
