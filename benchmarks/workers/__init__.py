"""Processes that a workload starts, kills and restarts."""
