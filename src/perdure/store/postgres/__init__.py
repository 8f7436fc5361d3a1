"""The PostgreSQL store: a hub in one schema, shared by any number of engine processes on any number of machines."""

from perdure.store.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
