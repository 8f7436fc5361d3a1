"""What is kept of an exception once it has left the process that raised it, and the errors that bring it back to callers.

An exception crosses the wire as ``FailureDetails``: names and text, never code. Class names found there are looked up
among what is already imported; nothing is ever imported because a payload names it.
"""

import builtins
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, cast

import msgspec

from perdure.core.errors import PerdureError

_MAX_CAUSES = 32
"""Bounds what a deep chain of sub-orchestrations adds to every history on its way up."""
_MAX_TEXT = 16 * 1024
_MAX_SUB_EXCEPTIONS = 10
_PACKAGE = __file__[: -len("core/failures.py")]
"""Path prefix of Perdure's own files; string operations only, since core reads no disk."""


class FailureDetails(msgspec.Struct, frozen=True, omit_defaults=True):
    """One exception and, through ``cause``, those it came from. Always encodable as JSON."""

    type: str
    """``module.Class``; builtins without module, Perdure's own errors as ``perdure.Class`` wherever they are defined."""
    message: str
    traceback: str | None = None
    """The user's frames only; ``None`` where there are none."""
    cause: "FailureDetails | None" = None
    non_retriable: bool = False
    properties: dict[str, Any] | None = None
    """What else an SDK that speaks the Durable Task protocol tells of it; plain JSON values."""

    def chain(self) -> Iterator["FailureDetails"]:
        """This failure, then its causes, the root cause last."""
        link: FailureDetails | None = self
        while link is not None:
            yield link
            link = link.cause

    def is_caused_by(self, type_or_name: "type[BaseException] | str") -> bool:
        """Whether this failure or one of its causes is of that type.

        Args:
            type_or_name: A class, which also matches its subclasses as far as they are imported in this process; or a
                class name, bare or qualified, which matches exactly.
        """
        if isinstance(type_or_name, str):
            return any(type_or_name in (link.type, link.type.rpartition(".")[2]) for link in self.chain())
        name = qualified_name(type_or_name)
        return any(link.type == name or _is_subclass(link.type, type_or_name) for link in self.chain())


class RemoteFailureError(PerdureError):
    """An error that stands for a failure somewhere else. Root of those that carry ``details``."""

    code = "PD1100"

    def __init__(self, message: str, details: FailureDetails) -> None:
        super().__init__(f"{message} failed: {details.type}: {details.message}")
        self.details = details

    def is_caused_by(self, type_or_name: type[BaseException] | str) -> bool:
        """As ``FailureDetails.is_caused_by``: the failure and all its causes, through any number of sub-orchestrations."""
        return self.details.is_caused_by(type_or_name)


class TaskFailedError(RemoteFailureError):
    """An activity, a sub-orchestration or an entity operation that the orchestrator waits for has failed."""

    code = "PD1101"

    def __init__(self, what: str, task_id: int, details: FailureDetails) -> None:
        super().__init__(f"{what} (task {task_id})", details)
        self.what = what
        self.task_id = task_id

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.what, self.task_id, self.details)


class OrchestrationFailedError(RemoteFailureError):
    """The orchestration that a client waits for has failed."""

    code = "PD1102"

    def __init__(self, instance_id: str, details: FailureDetails) -> None:
        super().__init__(f"orchestration {instance_id!r}", details)
        self.instance_id = instance_id

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.instance_id, self.details)


def failure_from_exception(
    exc: BaseException, *, non_retriable: bool = False, source_line: Callable[[str, int], str] | None = None
) -> FailureDetails:
    """What is kept of ``exc``. Never raises, whatever the exception's own methods do.

    Args:
        exc: Its causes are what ``raise ... from`` or an unsuppressed context say. Where one of them stands for a remote
            failure, that failure's chain goes on from there, so the root cause survives any number of levels. The middle
            of a very long chain is left out.
        non_retriable: Whether retry policies have to take the failure as final.
        source_line: Gives the text of a line of a file for the traceback (``linecache.getline`` does). Without it the
            frames show file, line number and function only: core itself reads no files.
    """
    try:
        links = _bounded(_links(exc))
    except Exception:  # noqa: BLE001 - user code: a class may override what leads to the cause
        links = [exc]
    cause: FailureDetails | None = None
    for link in reversed(links[1:]):
        details = _describe(link, source_line) if isinstance(link, BaseException) else link
        cause = msgspec.structs.replace(details, cause=cause)
    return msgspec.structs.replace(_describe(exc, source_line), cause=cause, non_retriable=non_retriable)


def original_exception(details: FailureDetails, types: tuple[type[Exception], ...]) -> Exception | None:
    """The exception that ``details`` describes, rebuilt from its message, where its type is one of ``types``. Never raises.

    A subclass of one of them doesn't count: it would come back as less than it was. ``__cause__`` is left unset. Attributes
    other than ``args`` are what the constructor makes of the message alone.
    """
    for cls in types:
        if qualified_name(cls) == details.type:
            made = _construct(cls, details.message)
            return _construct_bare(cls, details.message) if made is None else made
    return None


def qualified_name(cls: type) -> str:
    """The name by which ``FailureDetails.type`` records a class."""
    module = cast("object", cls.__module__)
    if not isinstance(module, str) or module == "builtins":
        return cls.__qualname__
    if module.startswith("perdure.") and issubclass(cls, PerdureError):
        # Where a public error is defined may change between releases; recorded names may not.
        return f"perdure.{cls.__qualname__}"
    return f"{module}.{cls.__qualname__}"


def _links(exc: BaseException) -> list[BaseException | FailureDetails]:
    links: list[BaseException | FailureDetails] = []
    seen: set[int] = set()
    link: BaseException | None = exc
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        links.append(link)
        if isinstance(link, RemoteFailureError):
            return [*links, *link.details.chain()]
        link = link.__context__ if link.__cause__ is None and not link.__suppress_context__ else link.__cause__
    return links


def _bounded(links: list[BaseException | FailureDetails]) -> list[BaseException | FailureDetails]:
    """Both ends of a chain matter: what the caller saw, and the root cause."""
    half = _MAX_CAUSES // 2
    return links if len(links) <= _MAX_CAUSES else [*links[:half], *links[-half:]]


def _describe(exc: BaseException, source_line: Callable[[str, int], str] | None) -> FailureDetails:
    try:
        message = _message(exc)
        texts = [_traceback(exc, source_line)]
        parts = _sub_exceptions(exc)
        if parts:
            message += ": " + "; ".join(_headline(part) for part in parts)
            texts += [
                f"Sub-exception {n}:\n{_traceback(part, source_line) or _headline(part)}" for n, part in enumerate(parts, 1)
            ]
        traceback = "\n".join(filter(None, texts))
        return FailureDetails(qualified_name(type(exc)), _clean(message), _clean(traceback) if traceback else None)
    except Exception as error:  # noqa: BLE001 - user code: metaclasses, properties, source_line
        return FailureDetails("Exception", f"an exception that can't be described: {type(error).__name__} was raised on the way")


def _message(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception as error:  # noqa: BLE001 - user code
        return f"<its message is unknown: str() of it raised {type(error).__name__}>"


def _headline(exc: BaseException) -> str:
    return f"{qualified_name(type(exc))}: {_message(exc)}"


def _sub_exceptions(exc: BaseException) -> list[BaseException]:
    """The first leaves of an exception group, groups within groups opened; empty for any other exception."""
    leaves: list[BaseException] = []
    todo = list(reversed(_members(exc)))
    while todo and len(leaves) < _MAX_SUB_EXCEPTIONS:
        part = todo.pop()
        members = _members(part)
        if members:
            todo.extend(reversed(members))
        else:
            leaves.append(part)
    return leaves


def _members(exc: BaseException) -> tuple[BaseException, ...]:
    return cast("BaseExceptionGroup[BaseException]", exc).exceptions if isinstance(exc, BaseExceptionGroup) else ()


def _traceback(exc: BaseException, source_line: Callable[[str, int], str] | None) -> str | None:
    try:
        lines = list(_frames(exc, source_line))
        notes = [str(note) for note in getattr(exc, "__notes__", ())]
    except Exception:  # noqa: BLE001 - user code; type and message are worth reporting without a traceback
        return None
    return "\n".join(["Traceback (most recent call last):", *lines, _headline(exc), *notes]) if lines else None


def _frames(exc: BaseException, source_line: Callable[[str, int], str] | None) -> Iterator[str]:
    frame = exc.__traceback__
    while frame is not None:
        code = frame.tb_frame.f_code
        if not code.co_filename.startswith(_PACKAGE):
            yield f'  File "{code.co_filename}", line {frame.tb_lineno}, in {code.co_name}'
            source = source_line(code.co_filename, frame.tb_lineno).strip() if source_line else ""
            if source:
                yield f"    {source}"
        frame = frame.tb_next


def _clean(text: str) -> str:
    """Bounded, and without the lone surrogates that undecodable file names bring and JSON can't hold."""
    if len(text) > _MAX_TEXT:
        half = _MAX_TEXT // 2
        text = f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _is_subclass(recorded: str, cls: type[BaseException]) -> bool:
    known = _imported_exception(recorded)
    return known is not None and issubclass(known, cls)


def _imported_exception(name: str) -> type[BaseException] | None:
    """The exception class of that name, if it is imported already."""
    if name.startswith("perdure."):
        for error in _subclasses(PerdureError):
            if qualified_name(error) == name:
                return error
    parts = name.split(".")
    for split in range(len(parts) - 1, -1, -1):
        found: object = sys.modules.get(".".join(parts[:split])) if split else builtins
        for part in parts[split:]:
            # vars, since getattr would let a module that imports lazily do so.
            found = vars(found).get(part) if isinstance(found, ModuleType | type) else None
        if isinstance(found, type) and issubclass(found, BaseException):
            return found
    return None


def _subclasses(cls: type[PerdureError]) -> Iterator[type[PerdureError]]:
    yield cls
    for subclass in cls.__subclasses__():
        yield from _subclasses(subclass)


def _construct(cls: type[Exception], message: str) -> Exception | None:
    try:
        made = cls(message)
    except Exception:  # noqa: BLE001 - the user's constructor; it may want other arguments
        return None
    return made if type(made) is cls else None


def _construct_bare(cls: type[Exception], message: str) -> Exception | None:
    try:
        made = cls.__new__(cls, message)
        made.args = (message,)
    except Exception:  # noqa: BLE001 - exception groups, for example, can't be made of a message
        return None
    return made if type(made) is cls else None
