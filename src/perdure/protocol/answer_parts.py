"""Decisions that are too large for one message: workers of some SDKs send the actions of one in several."""

from perdure.protocol.errors import InvalidDecisionError
from perdure.protocol.wire import pb

_MOST = 1000


Parts = list[tuple[pb.OrchestratorResponse, int]]
"""Those that have come, and the bytes of each together with those before it."""


def whole_answer(parts: Parts, part: pb.OrchestratorResponse, most: int) -> pb.OrchestratorResponse | None:
    """The answer with the actions of all parts, once the last one is there; ``None`` before that.

    What an answer says beside its actions is said by the first part. All parts together are no larger than ``most`` bytes, as if
    they had been one.

    Raises:
        InvalidDecisionError: it isn't the next part, or there is too much of them.
    """
    if not parts and not part.isPartial:
        return part
    if part.HasField("chunkIndex") and part.chunkIndex.value != len(parts):
        raise InvalidDecisionError(
            f"part {part.chunkIndex.value} of the answer for instance '{part.instanceId}' has come behind {len(parts)} others."
            " Send all parts in order, the first with the index 0."
        )
    if len(parts) == _MOST:
        raise InvalidDecisionError(f"the answer for instance '{part.instanceId}' has more than {_MOST} parts. Send larger ones.")
    size = part.ByteSize() + (parts[-1][1] if parts else 0)
    parts.append((part, size))
    if size > most:
        raise InvalidDecisionError(
            f"the parts of the answer for instance '{part.instanceId}' are more than {most} bytes together, the server's limit"
            " (max_message_bytes). Raise it, or let the orchestration do less at a time."
        )
    if part.isPartial:
        return None
    whole = pb.OrchestratorResponse()
    whole.CopyFrom(parts[0][0])
    for later, _ in parts[1:]:
        whole.actions.extend(later.actions)
    return whole
