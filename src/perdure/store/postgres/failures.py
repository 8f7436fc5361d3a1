"""What an error of PostgreSQL or its driver means to the engine."""

import asyncpg

from perdure.core.errors import EngineInvariantError, PerdureError
from perdure.store.errors import StoreError, StoreUnavailableError
from perdure.store.refusals import segment_refused

DEADLOCKS = frozenset({"40001", "40P01"})
"""Two transactions waited for each other, or can't be put in an order."""

_CREDENTIALS = ("28", "3D")
_SETTINGS = frozenset({"42704", "22023"})
"""A parameter of the URL that the server doesn't know, or a value that it doesn't take."""
_MISSING = frozenset({"3F000", "42P01", "42883", "42703"})


def translate(error: Exception, place: str) -> PerdureError | None:
    """The error of the contract that says the same; ``None`` for one that is a bug of this package."""
    if isinstance(error, asyncpg.PostgresError):
        return _of_server(error, place)
    if isinstance(error, TimeoutError):
        return _unavailable(
            place, "no answer came in time", "Check the network and the load of the server, or raise command_timeout"
        )
    if isinstance(error, OSError):
        return _unavailable(place, _words(error), "Check that the server runs, its address, and the network")
    if isinstance(error, asyncpg.InternalClientError) or (isinstance(error, asyncpg.InterfaceError) and "clos" in str(error)):
        return _unavailable(place, "the connection was lost", "It is made anew by the next call")
    return None


def no_rights(place: str, error: Exception) -> StoreError:
    """A role that may not do what an engine does."""
    return StoreError(
        f"PostgreSQL at {place} refused access: {_words(error)}. Let an administrator grant the rights that the guide 'Run on "
        "PostgreSQL' lists to the role that this URL names."
    )


def refused_credentials(error: Exception, place: str) -> StoreError | None:
    """A server that runs but doesn't let this role into this database, or not like this: waiting won't help."""
    if isinstance(error, asyncpg.PostgresError) and str(error.sqlstate).startswith(_CREDENTIALS):
        return StoreError(
            f"PostgreSQL at {place} refused the connection: {_words(error)}. Check user, password and database of the URL."
        )
    if isinstance(error, asyncpg.PostgresError) and error.sqlstate in _SETTINGS:
        return StoreError(
            f"PostgreSQL at {place} refused the connection: {_words(error)}. Check the parameters behind the '?' of the URL."
        )
    return None


def _of_server(error: asyncpg.PostgresError, place: str) -> PerdureError:
    state = str(error.sqlstate)
    if state.startswith("23"):
        return segment_refused(f"the batch for {place} ({_words(error)})")
    if state.startswith("22"):
        # The driver finds some of these by itself, before anything is sent.
        return EngineInvariantError(
            f"A commit was refused: an id, name or status contains a NUL character or half of a surrogate pair, or a number is "
            f"too large ({_words(error)}). Nothing was written."
        )
    if state in DEADLOCKS:
        return _unavailable(
            place, f"the server broke up a deadlock ({_words(error)})", "Read the store again and go on from there"
        )
    if state == "57014":
        return _unavailable(
            place, f"a statement took too long ({_words(error)})", "Look at the load of the server, or raise command_timeout"
        )
    if state == "25006":
        return _unavailable(
            place, "the server only reads", "It may be a standby: check the address, or wait for the end of the failover"
        )
    if state.startswith("53"):
        return _unavailable(
            place, f"the server is out of resources: {_words(error)}", "Check free disk space, memory and max_connections"
        )
    if state == "42501":
        return no_rights(place, error)
    if state in _MISSING:
        return StoreError(
            f"PostgreSQL at {place} lacks a part of the hub: {_words(error)}. Was the schema dropped or restored in part? "
            "Restore it, then restart."
        )
    if state.startswith("XX"):
        return StoreError(f"PostgreSQL at {place} reports damage: {_words(error)}. Look at the server's log; restore a backup.")
    if state.startswith("54"):
        return StoreError(
            f"A value is larger than PostgreSQL at {place} can hold ({_words(error)}). Make the batch or the history smaller."
        )
    return _unavailable(place, _words(error), "Look at the server's log")


def _unavailable(place: str, what: str, advice: str) -> StoreUnavailableError:
    return StoreUnavailableError(f"PostgreSQL at {place} can't be used now: {what}. {advice}.")


def _words(error: Exception) -> str:
    return str(error).strip().rstrip(".") or type(error).__name__
