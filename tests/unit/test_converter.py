"""The JSON border: what comes back equal, and what is refused with a message that helps."""

import dataclasses
import datetime as dt
import enum
import inspect
import math
import re
import sys
from collections import OrderedDict
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.core.converter import DeserializationError, JsonConverter, PayloadTooLargeError, SerializationError

CONVERTER = JsonConverter()


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: float


class Person(TypedDict):
    name: str
    age: int


class Money(msgspec.Struct):
    amount: Decimal
    currency: str = "EUR"


class Note(msgspec.Struct, rename="camel"):
    long_text: str | msgspec.UnsetType = msgspec.UNSET
    the_body: object = None


class Model(pydantic.BaseModel):
    when: dt.datetime
    amount: Decimal
    inner: "Model | None" = None


class Reading(pydantic.BaseModel):
    celsius: float


class StrictModel(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    id: UUID
    when: dt.date
    full_name: str = pydantic.Field(alias="fullName")


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"
    name: str


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"
    name: str


@dataclasses.dataclass
class Line:
    sku: str
    price: Money
    when: dt.datetime | None = None


@dataclasses.dataclass
class Order:
    id: UUID
    lines: list[Line]
    tags: frozenset[str] = frozenset()
    by_day: dict[dt.date, Colour] = dataclasses.field(default_factory=dict)
    model: Model | None = None
    _internal: int = 0


class Celsius:
    """The way of azure-functions-durable: static methods."""

    def __init__(self, degrees: float) -> None:
        self.degrees = degrees

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Celsius) and other.degrees == self.degrees

    __hash__ = None  # type: ignore[assignment]

    @staticmethod
    def to_json(value: "Celsius") -> object:
        return {"degrees": value.degrees}

    @staticmethod
    def from_json(data: Any) -> "Celsius":
        return Celsius(data["degrees"])


class Fahrenheit(Celsius):
    """The other common way: a method and a class method."""

    def to_json(self) -> object:  # type: ignore[override]
        return str(self.degrees)

    @classmethod
    def from_json(cls, data: Any) -> "Fahrenheit":  # type: ignore[override]
        return cls(float(data))


class Name(str):
    __slots__ = ()


class Count(int):
    pass


class Ratio(float):
    pass


ORDER = Order(
    id=UUID(int=7),
    lines=[Line("a", Money(Decimal("1.10"))), Line("b", Money(Decimal(2), "USD"), dt.datetime(2024, 5, 6, 7, 8, 9, 10, dt.UTC))],
    tags=frozenset({"x", "y"}),
    by_day={dt.date(2024, 1, 2): Colour.RED},
    model=Model(when=dt.datetime(2024, 1, 1, tzinfo=dt.UTC), amount=Decimal("0.1")),
    _internal=3,
)


def encode(value: object) -> str | None:
    return CONVERTER.encode(value, "input of activity", "charge")


def decode(text: str | None, type_: object = None) -> Any:
    return CONVERTER.decode(text, type_, "input of activity", "charge")


def refusal(value: object) -> str:
    with pytest.raises(SerializationError) as caught:
        encode(value)
    message = str(caught.value)
    assert message.startswith("[PD2001] input of activity 'charge' can't be written as JSON: ")
    return message


def misfit(text: str, type_: object) -> str:
    with pytest.raises(DeserializationError) as caught:
        decode(text, type_)
    message = str(caught.value)
    assert message.startswith("[PD2002] input of activity 'charge' ")
    return message


# --- round trips ---


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (ORDER, Order),
        ([ORDER, None], list[Order | None]),
        (Money(Decimal("1.10")), Money),
        (Note(), Note),
        (Point(1, 2.5), Point),
        ({"name": "Ada", "age": 36}, Person),
        (Colour.BLUE, Colour),
        (Level.HIGH, Level),
        (Rights.READ | Rights.WRITE, Rights),
        (dt.datetime(2024, 2, 29, 12, 0, 0, 1), dt.datetime),  # noqa: DTZ001 - naive ones have to come back naive
        (dt.datetime(2024, 2, 29, 12, tzinfo=dt.timezone(dt.timedelta(hours=-5))), dt.datetime),
        (dt.date(2024, 2, 29), dt.date),
        (dt.time(23, 59, 59, 999999), dt.time),
        (dt.timedelta(days=-1, microseconds=1), dt.timedelta),
        (UUID(int=2**127), UUID),
        (Decimal("1E+30"), Decimal),
        (b"\x00\xff", bytes),
        ({1, 2}, set[int]),
        (frozenset({"a"}), frozenset[str]),
        ((1, "a", None), tuple[int, str, None]),
        ((1, 2), tuple[int, ...]),
        ({1: {"a": (b"x",)}}, dict[int, dict[str, tuple[bytes, ...]]]),
        ({UUID(int=1): 1}, dict[UUID, int]),
        (3, Annotated[int, msgspec.Meta(ge=3)]),
        ("a", Literal["a", 1]),
        (2**70, int),
        (-(2**70), int | None),
        (ORDER.model, Model),
        (ORDER.model, Model | None),
        ({"a": [ORDER.model]}, dict[str, list[Model]]),
        (StrictModel(id=UUID(int=1), when=dt.date(2024, 1, 1), fullName="Ada"), StrictModel),
        ([StrictModel(id=UUID(int=1), when=dt.date(2024, 1, 1), fullName="Ada")], list[StrictModel]),
        (Dog(name="Rex"), Cat | Dog),
        (Cat(name="Tom"), Annotated[Cat | Dog | None, pydantic.Field(discriminator="kind")]),
        (Celsius(21.5), Celsius),
        ({"a": [Celsius(1.0), None]}, dict[str, list[Celsius | None]]),
        (Fahrenheit(70.0), Fahrenheit),
        ([Name("a")], list[Name]),
        (Count(3), Count),
        (Ratio(0.5), Ratio),
    ],
)
def test_value_comes_back_equal_and_of_its_type(value: object, annotation: object) -> None:
    back = decode(encode(value), annotation)
    assert back == value
    assert type(back) is type(value)


def test_fields_of_nested_values_have_their_types() -> None:
    back = decode(encode(ORDER), Order)
    assert type(back.lines[0].price.amount) is Decimal
    assert type(back.model) is Model
    assert isinstance(back.tags, frozenset)


@pytest.mark.parametrize("no_annotation", [None, Any, inspect.Parameter.empty, inspect.Signature.empty])
def test_without_annotation_json_comes_back_as_json(no_annotation: object) -> None:
    assert decode(encode({"a": (1, Colour.RED), 2: dt.date(2024, 1, 2)}), no_annotation) == {"a": [1, "red"], "2": "2024-01-02"}


@pytest.mark.parametrize("annotation", [None, int, Order, Model])
def test_none_is_no_payload(annotation: object) -> None:
    assert encode(None) is None
    assert decode(None, annotation) is None


def test_null_text_is_judged_by_the_annotation() -> None:
    assert decode("null") is None
    assert decode("null", int | None) is None
    assert "Expected `int`, got `null` - at `$`" in misfit("null", int)


def test_negative_zero_keeps_its_sign() -> None:
    assert math.copysign(1, decode(encode(-0.0), float)) == -1
    assert math.copysign(1, decode(encode([-0.0]))[0]) == -1


def test_nulls_that_were_none_pass() -> None:
    value = {"a": None, "b": "null", "c": [Decimal("NaN"), 2**70, None], "d": b"\xcb\xff\xff", "e": Note()}
    assert decode(encode(value))["a"] is None


def test_dict_subclasses_are_objects() -> None:
    assert encode(OrderedDict(b=1, a=2)) == '{"b":1,"a":2}'


def test_pydantic_models_use_their_aliases_on_the_wire() -> None:
    text = encode(StrictModel(id=UUID(int=1), when=dt.date(2024, 1, 1), fullName="Ada"))
    assert text is not None
    assert '"fullName":"Ada"' in text


def test_works_where_pydantic_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pydantic")
    converter = JsonConverter()
    assert converter.decode(converter.encode(Celsius(1.0), "a", "b"), Celsius, "a", "b") == Celsius(1.0)
    assert "pydantic" not in sys.modules
    assert f"`{__name__}.Model`" in refusal(ORDER.model)


def test_unhashable_annotation_works() -> None:
    assert decode("3", Annotated[int, []]) == 3
    assert "Expected `int`" in misfit('"a"', Annotated[int, []])


def test_more_annotations_than_are_cached_work() -> None:
    converter = JsonConverter()
    for number in range(1100):
        assert converter.decode("1", Annotated[int, number], "a", "b") == 1
    assert converter.decode("1", Annotated[int, 0], "a", "b") == 1


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_any_json_value_comes_back_equal(value: object) -> None:
    assert decode(encode(value)) == value


ORDERS = st.builds(
    Order,
    id=st.uuids(),
    lines=st.lists(
        st.builds(
            Line,
            sku=st.text(),
            price=st.builds(Money, amount=st.decimals(allow_nan=False), currency=st.text()),
            when=st.none() | st.datetimes(timezones=st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(minutes=-90))])),
        ),
        max_size=3,
    ),
    tags=st.frozensets(st.text(), max_size=3),
    by_day=st.dictionaries(st.dates(), st.sampled_from(Colour), max_size=3),
    model=st.none()
    | st.builds(Model, when=st.datetimes(), amount=st.decimals(allow_nan=False, allow_infinity=False), inner=st.none()),
)


@given(ORDERS)
def test_any_order_comes_back_equal(order: Order) -> None:
    assert decode(encode([order]), list[Order]) == [order]


@given(st.tuples(st.binary(), st.timedeltas(), st.times(), st.sets(st.integers()), st.dictionaries(st.integers(), st.binary())))
def test_any_value_of_the_standard_types_comes_back_equal(value: object) -> None:
    assert decode(encode(value), tuple[bytes, dt.timedelta, dt.time, set[int], dict[int, bytes]]) == value


@given(
    st.recursive(
        st.floats(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.builds(lambda v: Note(the_body=v), inner),
    )
)
def test_non_finite_numbers_are_never_lost(value: object) -> None:
    def is_finite(part: object) -> bool:
        if isinstance(part, float):
            return math.isfinite(part)
        if isinstance(part, Note):
            return is_finite(part.the_body)
        return all(is_finite(inner) for inner in (part.values() if isinstance(part, dict) else part))  # type: ignore[attr-defined]

    if is_finite(value):
        assert encode(value) is not None
    else:
        assert "JSON doesn't have" in refusal(value)


# --- refusals on the way out ---


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (1j, f"`$` is of type `{complex.__name__}`"),
        ({"items": [1, 2, 3, {"when": object()}]}, "`$.items[3].when` is of type `object`"),
        ({"a b": [1j]}, "`$['a b'][0]` is of type `complex`"),
        ({7: 1j}, "`$['7']` is of type `complex`"),
        (dataclasses.replace(ORDER, model=[range(2)]), "`$.model[0]` is of type `range`"),
        (Note(the_body={"x": (1, 1j)}), "`$.the_body.x[1]` is of type `complex`"),
        (Point(1, 1j), "`$[1]` is of type `complex`"),  # type: ignore[arg-type]
        ([Celsius({"x": 1j})], "`$[0].degrees.x` is of type `complex`"),  # type: ignore[arg-type]
        ({"a": {(1, 2): 3}}, "`$.a` has a key that is of type `tuple`, which can't be written as a JSON key"),
        ({"a": {None: 3}}, "`$.a` has a key that is of type `NoneType`"),
        ({"a": ["\ud800"]}, "`$.a[0]` is a `str` with a lone surrogate"),
        ({"a": {"\ud800": 1}}, "`$.a` has a key that is a `str` with a lone surrogate"),
        ([1.0, math.nan], "`$[1]` is nan, which JSON doesn't have"),
        (math.inf, "`$` is inf, which JSON doesn't have"),
        ({"a": None, "b": Ratio("-inf")}, "`$.b` is -inf"),
        ([2**70, None, math.nan], "`$[2]` is nan"),
        ([Reading(celsius=math.nan)], "`$[0].celsius` is nan"),
        (Model, "`$` is of type `pydantic._internal._model_construction.ModelMetaclass`"),
    ],
)
def test_refusal_names_path_and_type(value: object, where: str) -> None:
    assert where in refusal(value)


def test_refusal_says_what_to_do() -> None:
    assert refusal(1j).endswith(
        "Convert it to plain JSON values or to a supported type such as a dataclass, or give its class a "
        "to_json()/from_json() pair."
    )


def test_circular_references_are_told_with_their_path() -> None:
    value: dict[str, object] = {"a": []}
    value["a"].append({"back": value})  # type: ignore[attr-defined]
    assert "`$.a[0].back` refers back to an object that contains it" in refusal(value)


def test_to_json_that_gives_its_own_object_is_told() -> None:
    class Loop(Celsius):
        def to_json(self) -> object:  # type: ignore[override]
            return self

    assert "`$` refers back to an object that contains it" in refusal(Loop(1))


def test_to_json_that_never_ends_is_told() -> None:
    class Endless(Celsius):
        def to_json(self) -> object:  # type: ignore[override]
            return [Endless(1)]

    message = refusal(Endless(1))
    assert "levels deep" in message
    assert len(message) < 400


def test_the_same_object_twice_is_no_circle() -> None:
    shared = [1]
    assert encode([shared, {"a": shared}]) == '[[1],{"a":[1]}]'
    assert "`$[2]` is of type `complex`" in refusal([shared, shared, 1j])


def test_very_deep_nesting_is_told_both_ways() -> None:
    value: list[Any] = []
    for _ in range(50_000):  # deeper than any interpreter goes: 3.13 allows native code more than 3.11 does
        value = [value]
    assert "is nested more than 10000 levels deep. Flatten it." in refusal(value)
    assert "is nested too deeply" in misfit("[" * 100_000 + "]" * 100_000, None)


def test_error_of_to_json_is_told() -> None:
    class Broken(Celsius):
        def to_json(self) -> object:  # type: ignore[override]
            raise LookupError("no rate")

    assert "`$.a` raised LookupError when it was converted: no rate" in refusal({"a": Broken(1)})


def test_error_of_a_pydantic_serializer_is_told() -> None:
    class Raw(pydantic.BaseModel):
        data: bytes

    assert re.search(r"`\$\[0\]` raised \w+ when it was converted: .*utf-8", refusal([Raw(data=b"\xff")]))


# --- size ---


def test_limit_is_exact_and_counts_bytes() -> None:
    converter = JsonConverter(max_payload_bytes=6)
    assert converter.encode("éé", "output of", "f") == '"éé"'
    with pytest.raises(
        PayloadTooLargeError,
        match=r"^\[PD2003\] output of 'f' takes 7 bytes of JSON; the limit \(max_payload_bytes\) is 6\. Keep",
    ):
        converter.encode("ééx", "output of", "f")


def test_largest_part_is_named() -> None:
    converter = JsonConverter(max_payload_bytes=1000)
    with pytest.raises(PayloadTooLargeError, match=r"Most of it is `\$\.lines\[1\]\.sku` with 2,002 bytes"):
        converter.encode(
            dataclasses.replace(ORDER, lines=[*ORDER.lines[:1], Line("x" * 2000, Money(Decimal(1)))]), "input of", "f"
        )
    with pytest.raises(PayloadTooLargeError, match=r"is 1,000\. Keep"):
        converter.encode(list(range(1000)), "input of", "f")


# --- refusals on the way in ---


@pytest.mark.parametrize(
    ("text", "annotation", "reason"),
    [
        ('"a"', int, "doesn't fit int: Expected `int`, got `str` - at `$`"),
        ('{"a":[1,"b"]}', dict[str, list[int]], "doesn't fit dict[str, list[int]]: Expected `int`, got `str` - at `$[...][1]`"),
        ('{"sku":"a","price":{"amount":1,"currency":2}}', Line, "Expected `str`, got `int` - at `$.price.currency`"),
        ("{}", Line, "Object missing required field `sku` - at `$`"),
        (
            '{"when":"2024-01-01T00:00:00","amount":"x"}',
            Model,
            "Input should be a valid decimal, got `str` - at `$.amount` of the model",
        ),
        ("[{}]", list[Model], "Field required, got `dict` (and 1 more) - at `$.when` of the model - at `$[0]`"),
        ('{"kind":"cow"}', Cat | Dog, "Input should be 'cat', got `str`"),
        ("{", Model, "doesn't fit Model: Invalid JSON"),
        ('[{"a":1}]', list[Celsius], "KeyError: 'degrees' - at `$[0]`"),
        ('"x"', list[Celsius], "Expected `array`, got `str`"),
        ('"hot"', Fahrenheit, "could not convert string to float: 'hot' - at `$`"),
        ('{"a":"x"}', dict[str, Count], "Expected `int`, got `str` - at `$[...]`"),
        ("[1]", list[complex], "`complex` can't be read from JSON - at `$[0]`"),
        ("1e400", float, "Number out of range"),
    ],
)
def test_misfit_names_path_expected_and_found(text: str, annotation: object, reason: str) -> None:
    message = misfit(text, annotation)
    assert reason in message
    assert message.endswith("Correct what sends it, or the annotation.")


@pytest.mark.parametrize("text", ["", "[1", "NaN", "'a'", '"\\ud800"', "\ud800", "1 2"])
def test_what_is_no_json_is_told(text: str) -> None:
    assert "isn't valid JSON: " in misfit(text, None)


@pytest.mark.parametrize("annotation", ["Order", int | Celsius, list["Unknown"]])  # type: ignore[name-defined]  # noqa: F821
def test_annotation_that_cannot_work_is_told(annotation: object) -> None:
    assert "can't be read as " in misfit("1", annotation)


def test_out_of_memory_is_not_called_a_bad_value() -> None:
    class Huge(Celsius):
        def to_json(self) -> object:  # type: ignore[override]
            raise MemoryError

        @classmethod
        def from_json(cls, data: Any) -> "Huge":  # type: ignore[override]
            raise MemoryError

    with pytest.raises(MemoryError):
        encode(Huge(1))
    with pytest.raises(MemoryError):
        decode("1", Huge)
