"""The engine: partition loop, sessions, activities, timers, recovery."""
