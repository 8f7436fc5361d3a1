"""The SQLite store: one hub in one file, one engine process, every commit one durable transaction."""

from perdure.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
