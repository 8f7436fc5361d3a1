"""Hints between engines: none is lost by being sent together, and each text is short enough."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from perdure.engine.nudges import (
    ActivitiesOffered,
    EndAwaited,
    Hint,
    InstanceEnded,
    LeasesChanged,
    MessagesStored,
    Nudger,
    answered,
    decode_nudge,
    encode_nudges,
)
from perdure.store.contract import MAX_NUDGE_BYTES
from perdure.store.errors import StoreUnavailableError

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=256)
hints = st.one_of(
    st.builds(MessagesStored, st.integers(0, 2**31)),
    st.just(ActivitiesOffered()),
    st.just(LeasesChanged()),
    st.builds(EndAwaited, texts),
    st.builds(InstanceEnded, texts),
    st.builds(answered, st.text("abc:/0", max_size=120), st.none() | st.just("PD1301"), texts.map(lambda text: text * 8)),
)


@given(st.lists(hints, max_size=60))
def test_every_hint_arrives_in_order_in_texts_that_are_short_enough(sent: list[Hint]) -> None:
    texts = encode_nudges(sent)
    assert [hint for text in texts for hint in decode_nudge(text)] == sent
    assert all(len(text.encode()) <= MAX_NUDGE_BYTES for text in texts)
    assert len(texts) <= 1 + sum(len(text.encode()) for text in texts) // (MAX_NUDGE_BYTES // 8)


def test_the_longest_answer_fits_into_a_nudge() -> None:
    (text,) = encode_nudges([answered("m" * 200, "PD1301", "\x01" * 100_000)])
    assert len(text.encode()) <= MAX_NUDGE_BYTES


def test_hints_that_need_no_second_text_get_none() -> None:
    assert len(encode_nudges([MessagesStored(partition) for partition in range(100)])) == 1
    assert encode_nudges([]) == []


def test_what_a_newer_engine_says_is_passed_over() -> None:
    for text in ("", "{}", '[{"type":"unheard-of"}]', "not JSON", '[{"type":"messages"}]'):
        assert decode_nudge(text) == []
    assert decode_nudge('[{"type":"messages","partition":3,"more":"later"}]') == [MessagesStored(3)]


class Line:
    """Where nudges go; a call can be held up or made to fail."""

    def __init__(self) -> None:
        self.heard: list[list[Hint]] = []
        self.open = asyncio.Event()
        self.broken = False

    async def nudge(self, text: str) -> None:
        await self.open.wait()
        if self.broken:
            raise StoreUnavailableError("broken")
        self.heard.append(decode_nudge(text))


def test_hints_that_come_up_meanwhile_go_together_and_once() -> None:
    async def main() -> None:
        line, lost = Line(), list[str]()
        nudger = Nudger(line, lambda: lost.append("lost"))  # pyright: ignore[reportArgumentType]
        nudger.add(MessagesStored(1))
        await asyncio.sleep(0)
        for partition in (2, 3, 2):
            nudger.add(MessagesStored(partition))
        line.open.set()
        await nudger.sent()
        assert line.heard == [[MessagesStored(1)], [MessagesStored(2), MessagesStored(3)]]
        assert not lost

    asyncio.run(main())


def test_a_broken_line_is_reported_and_the_next_hint_tries_again() -> None:
    async def main() -> None:
        line, lost = Line(), list[str]()
        line.open.set()
        line.broken = True
        nudger = Nudger(line, lambda: lost.append("lost"))  # pyright: ignore[reportArgumentType]
        nudger.add(MessagesStored(1))
        await nudger.sent()
        assert lost == ["lost"]
        line.broken = False
        nudger.add(MessagesStored(2))
        await nudger.sent()
        assert line.heard == [[MessagesStored(2)]]

    asyncio.run(main())
