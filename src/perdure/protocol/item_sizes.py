"""Work items that are larger than what a worker takes: they wait for another one, and don't cost it its other work.

A client of gRPC ends the whole stream on a message over its limit (4 MB unless it was told otherwise), which it doesn't tell the
server. So a worker that goes away as soon as it is given a large item isn't given such an item again over the same connection.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable

from perdure.engine.remote.work import ActivityWork, Work

LARGE = 4 * 1024 * 1024
"""Bytes that every client of gRPC takes."""
_MAX_PEERS = 1000
_SECONDS = 10.0
"""Whoever leaves so soon after a large item has left because of it."""

_log = logging.getLogger("perdure.protocol")


class ItemSizes:
    """What the workers of one server take."""

    def __init__(self, most: int) -> None:
        """``most`` is what the server sends to anybody."""
        self.most = most
        self._too_large: OrderedDict[str, int] = OrderedDict()
        """The smallest item that each connection has broken off at."""

    def fits(self, peer: str, size: int) -> bool:
        """Whether the worker at ``peer`` may get an item."""
        return size <= LARGE or size < min(self._too_large.get(peer, self.most + 1), self.most + 1)

    def broke(self, peer: str, size: int) -> None:
        """The worker at ``peer`` has gone at an item."""
        self._too_large[peer] = min(size, self._too_large.get(peer, size))
        self._too_large.move_to_end(peer)
        if len(self._too_large) > _MAX_PEERS:
            self._too_large.popitem(last=False)


class Deliveries:
    """The large items that a worker has been given on one stream. ``give_back`` says whether an item was still open."""

    def __init__(self, sizes: ItemSizes, peer: str, now: Callable[[], float], give_back: Callable[[str], bool]) -> None:
        self._sizes = sizes
        self._peer = peer
        self._now = now
        self._give_back = give_back
        self._large: dict[str, tuple[str, int, float]] = {}
        self._told: set[str] = set()

    def take(self, work: Work, size: int) -> bool:
        """Whether an item may be sent. If not, it is given back."""
        if size <= LARGE:
            return True
        instance_id = work.call.instance_id if isinstance(work, ActivityWork) else work.instance_id
        if self._sizes.fits(self._peer, size):
            self._large[work.token] = (instance_id, size, self._now())
            return True
        self._give_back(work.token)
        if instance_id not in self._told:
            self._told.add(instance_id)
            _log.warning(
                "instance '%s' waits for a worker that takes %d bytes: the worker at %s doesn't, or the server's own limit"
                " (max_message_bytes) of %d is too low",
                instance_id,
                size,
                self._peer,
                self._sizes.most,
            )
        return False

    def gone(self) -> None:
        """The worker has left by itself: what it was given last may have been too large for it."""
        since = self._now() - _SECONDS
        for token, (instance_id, size, at) in self._large.items():
            if at >= since and self._give_back(token):
                self._sizes.broke(self._peer, size)
                _log.warning(
                    "the worker at %s has gone away on being given %d bytes of work for instance '%s'. Clients of gRPC take"
                    " %d bytes unless they are told otherwise: raise the worker's limit (max_receive_message_length), or keep"
                    " payloads and histories smaller",
                    self._peer,
                    size,
                    instance_id,
                    LARGE,
                )
