"""Complete programs, one idea each: ``python -m examples.hello``."""
