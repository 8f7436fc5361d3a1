"""Pure: events, tasks, replay, retry, failures. No I/O, no clock, no randomness, no threads."""
