"""A class of the app's own, which the SDK writes with its name."""

from typing import Any


class Parcel:
    def __init__(self, content: str, weight: int) -> None:
        self.content = content
        self.weight = weight

    @staticmethod
    def to_json(parcel: "Parcel") -> dict[str, Any]:
        return {"content": parcel.content, "weight": parcel.weight}

    @staticmethod
    def from_json(data: dict[str, Any]) -> "Parcel":
        return Parcel(data["content"], data["weight"])
