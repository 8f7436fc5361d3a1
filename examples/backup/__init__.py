"""A backup of a directory tree that survives the death of its process: the app, its worker, and a demo that kills it."""
