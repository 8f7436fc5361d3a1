"""Entities written as classes: where the state is, what operations are, and what is refused."""

import dataclasses
from typing import Any, ClassVar

import msgspec
import pytest

import perdure as df
from perdure.core.events import EntityOperationCalled, EntityOperationCompleted, EntityOperationFailed, ParentLink
from perdure.core.messages import Message
from tests.unit.entity_world import EntityWorld


class OperationRefusedError(Exception):
    """What a caller would get."""


def world(*classes: type, evict: bool = False) -> EntityWorld:
    app = df.DFApp()
    for cls in classes:
        app.entity(cls)
    return EntityWorld(app.functions(), evict=evict)  # type: ignore[arg-type]


def call(here: EntityWorld, entity: str, operation: str, input_: Any = None) -> Any:
    text = here.converter.encode(input_, "", "")
    event = EntityOperationCalled(entity, operation, 7, text, ParentLink("caller", "execution", 0, 7))
    answer = here.turn(entity, Message(entity, event)).messages[-1].event
    if isinstance(answer, EntityOperationFailed):
        raise OperationRefusedError(f"{answer.failure.type}: {answer.failure.message}")
    assert isinstance(answer, EntityOperationCompleted)
    return here.converter.decode(answer.result, None, "", "")


@dataclasses.dataclass
class Money:
    cents: int
    currency: str = "EUR"


@dataclasses.dataclass
class Purse:
    content: dict[str, int] = dataclasses.field(default_factory=dict[str, int])

    def put(self, money: Money) -> Money:
        self.content[money.currency] = self.content.get(money.currency, 0) + money.cents
        return Money(self.content[money.currency], money.currency)


class Struct(msgspec.Struct):
    total: int = 0

    def put(self, amount: int) -> int:
        self.total += amount
        return self.total


class Plain:
    total: int = 0
    names: list[str] = []  # noqa: RUF012 - a default like users write it
    limit: ClassVar[int] = 3

    def __init__(self) -> None:
        self._cache = "not part of the state"

    def put(self, amount: int = 1) -> int:
        self.total += amount
        self.names.append("x" * amount)
        return self.total

    async def later(self) -> int:
        return self.put(10)

    def get(self) -> int:
        return self.total

    def _hidden(self) -> None:
        raise AssertionError


@dataclasses.dataclass
class Cart:
    items: dict[str, int] = dataclasses.field(default_factory=dict[str, int])


class Shop:
    """One attribute called state: it is the whole."""

    state: Cart

    def add(self, item: str) -> None:
        self.state.items[item] = self.state.items.get(item, 0) + 1


class ByHand(df.DurableEntity):
    def add(self, amount: int) -> None:
        self.set_state(self.get_state(int, 0) + amount)
        self.entity_context.signal_entity(df.EntityId("plain", "other"), "put", amount)

    def reset(self) -> None:
        self.set_state(None)


@pytest.fixture(params=[False, True], ids=["hot", "evicted"])
def evict(request: pytest.FixtureRequest) -> bool:
    return request.param


def test_a_dataclass_is_its_own_state_and_inputs_and_results_have_their_types(evict: bool) -> None:
    here = world(Purse, evict=evict)
    assert call(here, "@purse@a", "put", {"cents": 5}) == {"cents": 5, "currency": "EUR"}
    assert call(here, "@purse@a", "PUT", {"cents": 6}) == {"cents": 11, "currency": "EUR"}
    assert here.state("@purse@a") == {"content": {"EUR": 11}}
    with pytest.raises(OperationRefusedError, match="doesn't fit Money"):
        call(here, "@purse@a", "put", {"cents": "many"})


def test_a_struct_is_its_own_state(evict: bool) -> None:
    here = world(Struct, evict=evict)
    call(here, "@struct@a", "put", 2)
    assert call(here, "@struct@a", "put", 3) == 5
    assert here.state("@struct@a") == {"total": 5}


def test_a_pydantic_model_is_its_own_state(evict: bool) -> None:
    pydantic = pytest.importorskip("pydantic")

    class Model(pydantic.BaseModel):
        total: int = 0

        def put(self, amount: int) -> int:
            self.total += amount
            return self.total

    here = world(Model, evict=evict)
    call(here, "@model@a", "put", 2)
    assert call(here, "@model@a", "put", 3) == 5
    assert here.state("@model@a") == {"total": 5}


def test_annotated_attributes_are_the_state_of_an_ordinary_class(evict: bool) -> None:
    here = world(Plain, evict=evict)
    assert [call(here, "@plain@a", "put", 2), call(here, "@plain@a", "put"), call(here, "@plain@a", "later")] == [2, 3, 13]
    assert here.state("@plain@a") == {"names": ["xx", "x", "x" * 10], "total": 13}
    assert Plain.names == [], "entities share a default"
    call(here, "@plain@b", "put", 1)
    assert here.state("@plain@b") == {"names": ["x"], "total": 1}


def test_one_attribute_called_state_is_the_whole(evict: bool) -> None:
    here = world(Shop, evict=evict)
    call(here, "@shop@a", "add", "tea")
    call(here, "@shop@a", "add", "tea")
    assert here.state("@shop@a") == {"items": {"tea": 2}}


def test_a_durable_entity_may_keep_its_state_by_hand(evict: bool) -> None:
    here = world(ByHand, Plain, evict=evict)
    call(here, "@byhand@a", "add", 2)
    call(here, "@byhand@a", "add", 3)
    assert here.state("@byhand@a") == 5
    assert [message.event.input for message in here.channels["@byhand@a", "@plain@other"]] == ["2", "3"]  # type: ignore[union-attr]
    call(here, "@byhand@a", "reset")
    assert here.saved("@byhand@a").state is None


def test_looking_does_not_create_and_delete_is_always_there(evict: bool) -> None:
    here = world(Plain, Purse, evict=evict)
    assert call(here, "@plain@a", "get") == 0
    assert here.stored == {}
    call(here, "@plain@a", "put", 1)
    call(here, "@plain@a", "delete")
    assert here.stored == {}


def test_a_method_called_delete_takes_precedence() -> None:
    class Keeper:
        deletions: int = 0

        def delete(self) -> None:
            self.deletions += 1

    here = world(Keeper)
    call(here, "@keeper@a", "delete")
    assert here.state("@keeper@a") == {"deletions": 1}


def test_a_failing_operation_leaves_the_object_as_it_was() -> None:
    class Careless:
        values: list[int] = []  # noqa: RUF012

        def put(self, value: int) -> None:
            self.values.append(value)
            if value < 0:
                raise ValueError("negative")

    here = world(Careless)
    call(here, "@careless@a", "put", 1)
    with pytest.raises(OperationRefusedError, match="ValueError: negative"):
        call(here, "@careless@a", "put", -1)
    call(here, "@careless@a", "put", 2)
    assert here.state("@careless@a") == {"values": [1, 2]}


def test_deleting_from_within_a_method_counts() -> None:
    class Mortal:
        age: int = 0

        def grow(self) -> None:
            self.age += 1
            if self.age == 2:
                df.entity_context().delete_state()

    here = world(Mortal)
    call(here, "@mortal@a", "grow")
    assert here.state("@mortal@a") == {"age": 1}
    call(here, "@mortal@a", "grow")
    assert here.stored == {}


@pytest.mark.parametrize(
    ("operation", "input_", "says"),
    [
        ("fly", None, "has no operation 'fly'. Those of Plain: get, later, put"),
        ("_hidden", None, "has no operation '_hidden'"),
        ("limit", None, "has no operation 'limit'"),
        ("get", 5, "operation 'get' of entity '@plain@a' takes no input"),
        ("put", "text", "doesn't fit int"),
    ],
)
def test_what_cannot_be_applied_says_why(operation: str, input_: Any, says: str) -> None:
    with pytest.raises(OperationRefusedError) as caught:
        call(world(Plain), "@plain@a", operation, input_)
    assert says in str(caught.value)


def test_an_operation_that_needs_an_input_says_so() -> None:
    with pytest.raises(OperationRefusedError, match="got `null`"):
        call(world(Struct), "@struct@a", "put")


def test_attributes_that_would_be_lost_are_an_error() -> None:
    class Forgetful:
        known: int = 0

        def remember(self) -> None:
            self.unknown = 1

    with pytest.raises(OperationRefusedError, match=r"'self.unknown' of entity '@forgetful@a' would be lost"):
        call(world(Forgetful), "@forgetful@a", "remember")


def test_results_get_their_types_from_annotations() -> None:
    app = df.DFApp()
    app.entity(Purse)
    assert app.functions().entities["purse"].result_type("PUT") is Money
    assert app.functions().entities["purse"].result_type("unknown") is None


# --- definitions --------------------------------------------------------------------------------------------------------


def test_decorators_take_names_and_both_forms() -> None:
    app = df.DFApp()

    @app.entity
    class First:
        value: int = 0

    @app.entity(name="Other", raises=(ValueError,))
    class Second:
        value: int = 0

    @app.entity_trigger(entity_name="Third")
    class Third:
        value: int = 0

    @app.entity_trigger(context_name="context")
    def fourth(context: df.DurableEntityContext) -> None: ...

    entities = app.functions().entities
    assert sorted(entities) == ["first", "fourth", "other", "third"]
    assert entities["other"].raises == (ValueError,)
    assert all(isinstance(cls, type) for cls in (First, Second, Third))


def two_inputs(self: Any, first: int, second: int) -> None: ...


def star(self: Any, *values: int) -> None: ...


def keyword_only(self: Any, *, value: int) -> None: ...


@pytest.mark.parametrize("operation", [two_inputs, star, keyword_only])
def test_an_operation_with_more_than_one_input_is_refused(operation: Any) -> None:
    cls = type("Bad", (), {"run": operation})
    with pytest.raises(df.FunctionDefinitionError, match=r"operation 'run' .* must take one input at most"):
        df.DFApp().entity(cls)


def test_a_class_that_needs_arguments_is_refused() -> None:
    class Demanding:
        def __init__(self, size: int) -> None:
            self.size = size

    with pytest.raises(df.FunctionDefinitionError, match=r"missing a required argument: 'size'"):
        df.DFApp().entity(Demanding)


def test_names_are_unique_in_any_case_and_functions_are_no_classes() -> None:
    app = df.DFApp()
    app.entity(Plain)
    with pytest.raises(df.FunctionDefinitionError, match="two entity functions have the name 'PLAIN'"):
        app.entity(name="PLAIN")(Struct)
    with pytest.raises(df.FunctionDefinitionError, match="@entity decorates classes"):
        app.entity(two_inputs)  # type: ignore[call-overload]


def generator(context: Any) -> Any:
    yield


def wrong_name(ctx: Any) -> None: ...


def no_parameter() -> None: ...


@pytest.mark.parametrize(
    ("function", "says"),
    [(generator, "can't be a generator"), (wrong_name, "is called 'context'"), (no_parameter, "needs the parameter 'context'")],
)
def test_functions_that_cannot_be_entities(function: Any, says: str) -> None:
    with pytest.raises(df.FunctionDefinitionError, match=says):
        df.DFApp().entity_trigger(context_name="context")(function)
