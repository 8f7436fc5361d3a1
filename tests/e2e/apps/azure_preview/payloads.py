"""Where the SDK puts what is too large for a history."""

from pathlib import Path
from uuid import uuid4

from durabletask.payload import LargePayloadStorageOptions, PayloadStore


class FolderStore(PayloadStore):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def options(self) -> LargePayloadStorageOptions:
        return LargePayloadStorageOptions(threshold_bytes=1000)

    def upload(self, data: bytes, *, instance_id: str | None = None) -> str:
        name = uuid4().hex
        (self._folder / name).write_bytes(data)
        return f"folder:{name}"

    async def upload_async(self, data: bytes, *, instance_id: str | None = None) -> str:
        return self.upload(data)

    def download(self, token: str) -> bytes:
        return (self._folder / token.removeprefix("folder:")).read_bytes()

    async def download_async(self, token: str) -> bytes:
        return self.download(token)

    def is_known_token(self, value: str) -> bool:
        return value.startswith("folder:")
