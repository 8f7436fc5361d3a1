"""Random messages of the protocol, for hypothesis."""

from typing import Any

from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st


def messages(message: Any, depth: int = 3) -> st.SearchStrategy[Any]:
    """Any message of a class, with values at the edges of what protobuf allows."""

    @st.composite
    def build(draw: st.DrawFn) -> Any:
        made = message()
        for field in message.DESCRIPTOR.fields:
            if not draw(st.booleans()) or (field.message_type is not None and field.message_type.GetOptions().map_entry):
                continue
            if field.message_type is not None:
                if depth == 0:
                    continue
                value = draw(messages(_class_of(field.message_type), depth - 1))
                if field.is_repeated:
                    getattr(made, field.name).add().CopyFrom(value)
                else:
                    getattr(made, field.name).CopyFrom(value)
                continue
            value = draw(_VALUES[field.cpp_type])
            if field.is_repeated:
                getattr(made, field.name).append(value)
            else:
                setattr(made, field.name, value)
        return made

    return build()


def _class_of(descriptor: Any) -> Any:
    return GetMessageClass(descriptor)


_INT32 = st.sampled_from([0, 1, -1, 2**31 - 1, -(2**31)])
_VALUES: dict[int, st.SearchStrategy[Any]] = {
    1: _INT32,
    2: st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63), 253_402_300_799, 253_402_300_800]),
    7: st.booleans(),
    8: _INT32,
    9: st.sampled_from(["", "i", "@a@b", "@@", "@a@", "\x00", "a/b", "after:", "1|", "é" * 300, "0", "\U0010ffff"])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
}
