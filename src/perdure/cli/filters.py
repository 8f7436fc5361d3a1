"""Which instances a command is about."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from perdure.cli.values import moment, statuses
from perdure.client.models import DurableOrchestrationStatus
from perdure.core.status import OrchestrationRuntimeStatus

if TYPE_CHECKING:
    from perdure.cli.stored import StoredInstances
    from perdure.client.http import Client

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Filter:
    """All that is said has to hold."""

    statuses: Sequence[OrchestrationRuntimeStatus]
    names: frozenset[str]
    """Case-folded."""
    prefix: str | None
    after: datetime | None
    before: datetime | None

    @classmethod
    def of(
        cls, status: list[str] | None, name: list[str] | None, prefix: str | None, after: str | None, before: str | None
    ) -> "Filter":
        """From the options.

        Raises:
            CommandError: one of them can't be understood.
        """
        return cls(
            statuses(status or []),
            frozenset(each.casefold() for each in name or []),
            prefix,
            moment(after, "--created-after"),
            moment(before, "--created-before"),
        )

    @property
    def is_empty(self) -> bool:
        """Whether everything matches."""
        return not (self.statuses or self.names or self.prefix or self.after or self.before)

    async def matching(self, client: "Client | StoredInstances", limit: int | None = None) -> list[DurableOrchestrationStatus]:
        """The instances, ordered by id; the first ``limit`` of them."""
        found: list[DurableOrchestrationStatus] = []
        token: str | None = None
        while True:
            page = await client.list_page(
                self.after,
                self.before,
                list(self.statuses) or None,
                self.prefix,
                page_size=_PAGE if limit is None else min(limit, _PAGE),
                continuation_token=token,
            )
            # Names are compared here, because stores and hosts know them in one case only.
            found += [status for status in page.instances if not self.names or (status.name or "").casefold() in self.names]
            token = page.continuation_token
            if token is None or (limit is not None and len(found) >= limit):
                return found[:limit]
