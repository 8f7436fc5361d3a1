"""Triggers: what makes a function of an app run, and what becomes of its result."""
