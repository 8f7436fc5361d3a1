"""The command ``perdure``. Modules of the host and of the engine are imported by the commands that need them, on use."""
