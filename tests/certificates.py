"""Certificates for tests of TLS, made on the spot."""

import subprocess
from pathlib import Path
from typing import Any

from perdure.protocol.settings import TlsFiles


def certificates(folder: Path) -> dict[str, TlsFiles]:
    """A certificate authority (``ca.pem``), and a server and a client of it, for a day."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    if not (folder / "ca.pem").exists():
        new_key: Any = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "1", "-subj", "/CN=authority")
        (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
        for name in ("server", "client"):
            openssl("req", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
            signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "1", "-extfile", "names")
            openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signed)
    server_files = TlsFiles(certificate=folder / "server.pem", key=folder / "server.key")
    mutual = TlsFiles(certificate=folder / "server.pem", key=folder / "server.key", client_ca=folder / "ca.pem")
    return {"server": server_files, "mutual": mutual}
