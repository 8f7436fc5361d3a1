"""What the activities and orchestrators of the backup hand to each other. In the hub all of it is readable JSON."""

from dataclasses import dataclass
from enum import StrEnum


class Selection(StrEnum):
    """Which files of the source directory belong to the backup."""

    EVERYTHING = "everything"
    """Every regular file below it. Symbolic links aren't followed, and count as skipped like sockets and the like."""
    CHECKOUT = "checkout"
    """What git knows or would add: not ``.git``, nor anything that is ignored."""


@dataclass(frozen=True, slots=True)
class BackupRequest:
    """Input of the backup."""

    source: str
    target: str
    selection: Selection = Selection.EVERYTHING
    demo: bool = False
    """Lets small trees take about two seconds, so that a kill can land in the middle of the copying."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be copied. The names are in files of the target directory: a list of a million of them is no payload."""

    files: int
    bytes: int
    batches: int
    skipped: int
    pause_seconds: float = 0.0
    """For the demo only: a pause in each copy."""


@dataclass(frozen=True, slots=True)
class BatchOrder:
    """One batch of a plan."""

    source: str
    target: str
    batch: int
    pause_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class CopyOrder:
    """One file to copy. ``path`` is relative to both directories."""

    source: str
    target: str
    path: str
    pause_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class CopiedFile:
    """One file that is in the target directory for good."""

    path: str
    bytes: int
    sha256: str
    reused: bool = False
    """An earlier run of the same activity call had finished it already."""


@dataclass(frozen=True, slots=True)
class CopiedBatch:
    """Goes into the manifest."""

    target: str
    batch: int
    files: list[CopiedFile]


@dataclass(frozen=True, slots=True)
class Tally:
    """Files and bytes of a batch."""

    files: int
    bytes: int
    reused: int


@dataclass(frozen=True, slots=True)
class ManifestOrder:
    """The parts of the manifest, to be made one."""

    target: str
    batches: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The finished list of all files with their checksums."""

    target: str
    file: str
    sha256: str
    files: int


@dataclass(frozen=True, slots=True)
class Report:
    """Output of the backup."""

    files: int
    bytes: int
    skipped: int
    reused: int
    manifest: str
    manifest_sha256: str
    verified: int


@dataclass(frozen=True, slots=True)
class ReportOrder:
    """A report, and where it goes."""

    target: str
    report: Report
