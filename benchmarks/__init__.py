"""Benchmarks: ``python -m benchmarks [--short] [names...]`` prints one JSON line per result."""
