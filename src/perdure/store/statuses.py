"""The one thing that stores know about an instance's status: whether it will ever need its history again."""

TERMINAL_STATUSES = frozenset({"Completed", "Failed", "Terminated", "Canceled"})
"""Instances in one of these are never replayed, so ``load`` leaves their segments on disk."""
