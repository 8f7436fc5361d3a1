"""Which entity: a name, which is the kind, and a key, which is the one among them."""

from dataclasses import dataclass

from perdure.core.errors import PerdureError
from perdure.core.ids import MAX_INSTANCE_ID_LENGTH


class InvalidEntityIdError(PerdureError):
    """An entity id breaks the rules of Durable Functions."""

    code = "PD1002"


@dataclass(frozen=True, slots=True)
class EntityId:
    """Identifies an entity. ``str()`` gives its instance id, ``@name@key``.

    Args:
        name: the entity function's name; case doesn't matter, so it is kept in small letters.
        key: any text, also an empty one; case matters.
    """

    name: str
    key: str

    def __post_init__(self) -> None:
        _check(self.name, self.key)
        object.__setattr__(self, "name", self.name.casefold())

    def __str__(self) -> str:
        return f"@{self.name}@{self.key}"

    @staticmethod
    def parse(text: str) -> "EntityId":
        """The id that ``text`` (``@name@key``) stands for.

        Raises:
            InvalidEntityIdError: it isn't one.
        """
        nothing, *parts = text.split("@", 2)
        if nothing or len(parts) != 2:
            raise InvalidEntityIdError(f"{text[:80]!r} isn't an entity id; those look like '@name@key'.")
        return EntityId(*parts)


def is_entity(instance_id: str) -> bool:
    """Whether an instance id is an entity's."""
    return instance_id[:1] == "@"


def entity_name(instance_id: str) -> str:
    """The name in an entity's instance id."""
    return instance_id[1:].partition("@")[0]


def entity_id(value: object) -> EntityId:
    """The id that ``value`` stands for: an ``EntityId``, its text, or an object of another SDK with ``name`` and ``key``.

    Raises:
        InvalidEntityIdError: it is none of these.
    """
    if isinstance(value, EntityId):
        return value
    if isinstance(value, str):
        return EntityId.parse(value)
    name, key = getattr(value, "name", getattr(value, "entity", None)), getattr(value, "key", None)
    if isinstance(name, str) and isinstance(key, str):
        return EntityId(name, key)
    raise InvalidEntityIdError(f"{value!r} isn't an entity id. Pass an EntityId(name, key).")


def _check(name: str, key: str) -> None:
    problem = None
    if not name:
        problem = "the name is empty"
    elif "@" in name:
        problem = "the name contains '@'"
    elif len(name) + len(key) + 2 > MAX_INSTANCE_ID_LENGTH:
        problem = f"it has {len(name) + len(key) + 2} characters; the limit is {MAX_INSTANCE_ID_LENGTH}"
    else:
        for char in name + key:
            if ord(char) < 32 or 127 <= ord(char) < 160 or 0xD800 <= ord(char) < 0xE000:
                problem = f"it contains {char!r}; control characters are not allowed"
                break
    if problem:
        raise InvalidEntityIdError(f"entity id {f'@{name}@{key}'[:80]!r} can't be used: {problem}. Choose another name or key.")
