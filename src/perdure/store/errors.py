"""What a store may raise. The engine decides by class alone whether to retry, to let go of its partitions, or to stop."""

from perdure.core.errors import PerdureError


class StoreError(PerdureError):
    """Root of the errors a store raises."""

    code = "PD3000"


class StoreUnavailableError(StoreError):
    """The store can't do it now but may later: connection lost, disk full, lock time-out. The outcome of a commit is unknown."""

    code = "PD3001"


class LeaseLostError(StoreError):
    """A commit or renewal named an epoch that is no longer current. Nothing was written; another owner has the partition."""

    code = "PD3002"


class HubInUseError(StoreError):
    """Another live process owns this store, and the store allows only one (SQLite). The message names its process id."""

    code = "PD3003"


class SchemaTooNewError(StoreError):
    """The store was written by a newer Perdure. Upgrade this one; nothing was changed."""

    code = "PD3004"


class StoreUrlError(StoreError):
    """The store URL can't be understood, or names a store whose driver isn't installed."""

    code = "PD3005"


class UnusableConnectionError(StoreError):
    """A connection was handed over that can't take the hub's writes: another kind, another database, or not in a transaction."""

    code = "PD3006"


class TransactionsUnsupportedError(StoreError):
    """This store has no transactions that users could take part in, or the driver for them isn't installed."""

    code = "PD3007"


class TransactionControlError(StoreError):
    """The code of a transactional activity ends its transaction. Perdure does that: when the activity returns, or raises."""

    code = "PD3008"


class HubMissingError(StoreError):
    """No hub is at the URL, and the call was to make none. Check the URL; ``perdure store init`` makes one, or a host's start."""

    code = "PD3009"
