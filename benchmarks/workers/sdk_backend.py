"""The in-memory backend of PyPI's ``durabletask``: says its address, ends with its standard input."""

import socket
import sys

from durabletask.testing import create_test_backend


def main() -> None:
    """Serves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    backend = create_test_backend(port=port)
    print(f"127.0.0.1:{port}", flush=True)
    sys.stdin.read()
    backend.stop()


if __name__ == "__main__":
    main()
