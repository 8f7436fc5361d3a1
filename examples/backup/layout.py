"""Where a backup keeps what: ``files/`` and ``manifest.jsonl`` are the backup, ``work/`` serves to go on after a crash."""

from pathlib import Path


class Layout:
    """The places in a target directory."""

    def __init__(self, target: str | Path) -> None:
        root = Path(target)
        self.files = root / "files"
        self.manifest = root / "manifest.jsonl"
        self.report = root / "report.json"
        self.copies = root / "work" / "copies.log"
        """A line when a copy begins, when it has ended, and when it was found finished; nothing ever removes a line."""
        self.plan = root / "work" / "plan.json"
        self._work = root / "work"

    def prepare(self) -> None:
        """Makes the directories."""
        for folder in ("batches", "parts", "receipts", "partial"):
            (self._work / folder).mkdir(parents=True, exist_ok=True)
        self.files.mkdir(exist_ok=True)

    def batch(self, number: int) -> Path:
        """The names of one batch's files."""
        return self._work / "batches" / f"{number:06}.json"

    def part(self, number: int) -> Path:
        """One batch's lines of the manifest."""
        return self._work / "parts" / f"{number:06}.jsonl"

    def receipt(self, key: str) -> Path:
        """What the activity call with this idempotency key has copied."""
        return self._work / "receipts" / key

    def partial(self, key: str) -> Path:
        """The copy that this activity call is writing."""
        return self._work / "partial" / key
