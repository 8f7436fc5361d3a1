"""What can be wrong with a backup, in words that help whoever started it."""


class SourceError(Exception):
    """The source directory can't be backed up as it is."""


class BackupDamagedError(Exception):
    """What is in the target directory isn't what was copied there."""
