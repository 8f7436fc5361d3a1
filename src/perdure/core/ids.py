"""Deterministic identifiers: pure functions of names and numbers, so that replay makes the same ones again."""

import zlib
from uuid import NAMESPACE_OID, NAMESPACE_URL, UUID, uuid5

from perdure.core.errors import PerdureError

MAX_INSTANCE_ID_LENGTH = 256
_FORBIDDEN = frozenset("/\\#?")
# Durable Functions derives ``new_uuid`` from this name space (azure-functions-durable 1.x, DurableOrchestrationContext).
_UUID_NAMESPACE = uuid5(NAMESPACE_OID, "9e952958-5e33-4daf-827f-2fa12937b875")


class InvalidInstanceIdError(PerdureError):
    """An instance id breaks the rules of Durable Functions."""

    code = "PD1001"


class InvalidNameError(PerdureError):
    """The name or version of an orchestration has a NUL character, which stores can't keep."""

    code = "PD1003"


def check_name(name: str, version: str | None) -> None:
    """Guarantees that every store can keep the name and version of an orchestration.

    Raises:
        InvalidNameError: it can't.
    """
    for what, text in (("name", name), ("version", version or "")):
        if "\0" in text:
            raise InvalidNameError(f"the {what} {text[:80]!r} of an orchestration has a NUL character. Leave it out.")


def check_instance_id(instance_id: str) -> None:
    r"""Guarantees that the id can be used in URLs and that it can't be mistaken for an entity's.

    Raises:
        InvalidInstanceIdError: empty, longer than 256 characters, starts with ``@``, or has one of
            ``/ \ # ?`` or a control character.
    """
    problem = None
    if not instance_id:
        problem = "it is empty"
    elif len(instance_id) > MAX_INSTANCE_ID_LENGTH:
        problem = f"it has {len(instance_id)} characters; the limit is {MAX_INSTANCE_ID_LENGTH}"
    elif instance_id.startswith("@"):
        problem = "it starts with '@', which marks entities"
    else:
        for position, char in enumerate(instance_id):
            if char in _FORBIDDEN or ord(char) < 32 or 127 <= ord(char) < 160 or 0xD800 <= ord(char) < 0xE000:
                problem = f"it has {char!r} at position {position}; '/', '\\', '#', '?' and control characters are not allowed"
                break
    if problem:
        raise InvalidInstanceIdError(f"instance id {instance_id[:80]!r} can't be used: {problem}. Choose another id.")


def partition_of(instance_id: str, partition_count: int) -> int:
    """The partition that owns an instance; the same on every machine and in every release."""
    return zlib.crc32(instance_id.encode()) % partition_count


def child_instance_id(parent_id: str, generation: int, task_id: int) -> str:
    """The default id of a sub-orchestration: readable where it fits, a hash of the same parts where it would be too long."""
    readable = f"{parent_id}:{generation:x}:{task_id:04x}"
    return readable if len(readable) <= MAX_INSTANCE_ID_LENGTH else uuid5(NAMESPACE_OID, readable).hex


def child_execution_id(parent_execution_id: str, generation: int, task_id: int, attempt: int = 1) -> str:
    """The execution id of a sub-orchestration: 32 hex digits, different for each call of each generation."""
    again = f":{attempt}" if attempt > 1 else ""
    return uuid5(NAMESPACE_OID, f"{parent_execution_id}:{generation}:{task_id}{again}").hex


def deterministic_uuid(instance_id: str, timestamp: str, counter: int) -> str:
    """What ``context.new_uuid()`` gives: the formula of azure-functions-durable 1.x."""
    return str(uuid5(_UUID_NAMESPACE, f"{instance_id}_{timestamp}_{counter}"))


def deterministic_guid(instance_id: str, timestamp: str, counter: int) -> UUID:
    """What ``context.new_guid()`` gives: the formula of azure-functions-durable 1.x."""
    return uuid5(NAMESPACE_URL, f"{instance_id}_{timestamp}_{counter}")


def jitter_fraction(seed: str) -> float:
    """A number in [0, 1) that depends on nothing but ``seed``."""
    return zlib.crc32(seed.encode()) / 2**32
