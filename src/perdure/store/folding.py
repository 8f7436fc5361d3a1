"""The turns of a commit as the sets of rows that a database takes."""

from collections.abc import Iterable

from perdure.store.contract import InstanceRow, Segment, TurnRecord


class FoldedTurns:
    """The net effect of turns that apply in order, per instance: what to remove first, then what to write."""

    def __init__(self, turns: Iterable[TurnRecord]) -> None:
        # Dicts where sets would do: their order is that of the turns, so the same commit always writes the same bytes.
        self.deleted: dict[str, None] = {}
        self.purged: dict[str, None] = {}
        self.reset: dict[str, None] = {}
        self.rows: dict[str, InstanceRow] = {}
        self.changes: dict[str, InstanceRow] = {}
        """Rows of which only a part can have changed: written after the others."""
        self.segments: dict[str, list[Segment]] = {}
        for turn in turns:
            self._add(turn)

    def _add(self, turn: TurnRecord) -> None:
        key = turn.instance_id
        if turn.delete:
            self.purged[key] = None
        if turn.delete or turn.vacate:
            self.deleted[key] = None
            self.rows.pop(key, None)
            self.changes.pop(key, None)
        if turn.reset:
            self.reset[key] = None
        if turn.delete or turn.vacate or turn.reset:
            self.segments.pop(key, None)
        if turn.row is not None and turn.continues:
            self.changes[key] = turn.row
        elif turn.row is not None:
            self.rows[key] = turn.row
            self.changes.pop(key, None)
        if turn.segment is not None:
            self.segments.setdefault(key, []).append(turn.segment)
