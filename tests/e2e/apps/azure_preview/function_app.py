"""An app as it is deployed to Azure with azure-functions-durable 2.x: nothing in it knows of Perdure."""

import os
from pathlib import Path
from typing import Any

import azure.durable_functions as df
import azure.functions as func
from classic import blueprint as classic
from clients import blueprint as clients
from native import blueprint as native
from operations import blueprint as operations


class FolderWriter:
    """Where the histories go that the app exports."""

    def write(self, *, container: str, blob_name: str, payload: bytes, **more: Any) -> None:
        target = Path(os.environ["SCRATCH"], container, blob_name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(payload)


app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
app.configure_scheduled_tasks()
app.configure_history_export(FolderWriter())
for blueprint in (classic, native, clients, operations):
    app.register_functions(blueprint)

if "PAYLOADS" in os.environ:
    from payloads import FolderStore

    app.configure_large_payloads(payload_store=FolderStore(Path(os.environ["PAYLOADS"])))
