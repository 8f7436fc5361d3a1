"""The test kit: virtual time, faults, the store suite, the replay checker."""
