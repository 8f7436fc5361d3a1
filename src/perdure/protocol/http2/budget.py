"""Memory that peers can make the server use, counted over all connections."""


class Budget:
    """How many bytes may still be taken. Whoever takes some gives them back."""

    __slots__ = ("left",)

    def __init__(self, limit: int) -> None:
        self.left = limit
