"""What the log of ``perdure start`` must not hold."""

import subprocess
import sys

_PROGRAM = """
import logging
import httpx
from perdure.cli import serving
serving._log_to_stderr("INFO", with_process=False)
logging.getLogger("perdure.host").info("this is logged")
with httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(200))) as client:
    client.get("http://account.queue.example/orders/messages?sig=SECRET")
"""


def test_urls_with_a_shared_access_signature_are_not_logged() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    assert "this is logged" in done.stderr
    assert "SECRET" not in done.stderr
