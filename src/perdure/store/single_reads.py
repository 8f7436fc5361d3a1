"""Reads of single instances: while one query runs, those that are asked for meanwhile become the next one."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from perdure.store.contract import InstanceRecord
from perdure.store.errors import StoreError

_AT_MOST = 200

_Batch = list[tuple[str, asyncio.Future[InstanceRecord | None]]]


class SingleReads:
    """What many pollers ask for at a time. A hand-over to a thread or a server costs several times the reading of a row.

    A query begins after it was asked for, so that it sees every commit that was acknowledged before.
    """

    def __init__(self, get_many: Callable[[list[str]], asyncio.Future[list[InstanceRecord]]]) -> None:
        """``get_many`` reads those that exist, with their payloads; it raises where the store isn't open."""
        self._get_many = get_many
        self._waiting: _Batch = []
        self._reading = False

    def get(self, instance_id: str) -> asyncio.Future[InstanceRecord | None]:
        """The instance with its payloads; ``None`` where there is none. The id has to be text that can be stored."""
        future: asyncio.Future[InstanceRecord | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((instance_id, future))
        if not self._reading:
            self._read()
        return future

    def _read(self) -> None:
        batch, self._waiting = self._waiting[:_AT_MOST], self._waiting[_AT_MOST:]
        ids = sorted({instance_id for instance_id, _ in batch})
        try:
            reading = self._get_many(ids)
        except StoreError as error:  # it was closed while they waited
            _settle(batch, {}, error)
            return
        self._reading = True
        reading.add_done_callback(partial(self._read_on, batch))

    def _read_on(self, batch: _Batch, done: asyncio.Future[list[InstanceRecord]]) -> None:
        self._reading = False
        if self._waiting:
            self._read()
        error = done.exception()
        _settle(batch, {} if error is not None else {record.row.instance_id: record for record in done.result()}, error)


def _settle(batch: _Batch, found: Mapping[str, InstanceRecord], error: BaseException | None) -> None:
    for instance_id, future in batch:
        if future.done():
            continue  # whoever asked has gone
        if error is None:
            future.set_result(found.get(instance_id))
        else:
            future.set_exception(error)
