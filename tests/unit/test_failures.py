"""What survives of an exception on its way through any number of orchestrations, and what comes back of it."""

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import perdure
from perdure.core.converter import SerializationError
from perdure.core.errors import PerdureError
from perdure.core.failures import (
    FailureDetails,
    OrchestrationFailedError,
    RemoteFailureError,
    TaskFailedError,
    failure_from_exception,
    original_exception,
    qualified_name,
)

PACKAGE = Path(perdure.__file__).parent


class PaymentError(Exception):
    class DeclinedError(ValueError):
        pass


class NeedsTwoError(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


class UserTaskError(TaskFailedError):
    pass


def caught(raising: Callable[[], object]) -> BaseException:
    try:
        raising()
    except BaseException as error:  # noqa: BLE001 - it is what the test is about
        return error
    raise AssertionError("nothing was raised")


def charge() -> None:
    raise ValueError("no funds")


def through_perdure(function: Callable[[], object]) -> object:
    """Calls ``function`` from a frame that belongs to a file of Perdure."""
    names: dict[str, Any] = {}
    exec(compile("def run(function):\n    return function()\n", str(PACKAGE / "engine" / "activities.py"), "exec"), names)
    return names["run"](function)


def wire(details: FailureDetails) -> FailureDetails:
    return msgspec.json.decode(msgspec.json.encode(details), type=FailureDetails)


def level_up(details: FailureDetails, task_id: int = 0) -> FailureDetails:
    """What a parent gets when a child lets the failure of its own child escape."""

    def orchestrator() -> None:
        raise TaskFailedError("sub-orchestration 'child'", task_id, details)

    return wire(failure_from_exception(caught(lambda: through_perdure(orchestrator))))


# --- taking down ---


def test_type_message_and_the_users_frames_are_kept() -> None:
    details = failure_from_exception(caught(lambda: through_perdure(charge)))
    assert (details.type, details.message, details.cause, details.non_retriable) == ("ValueError", "no funds", None, False)
    assert details.traceback is not None
    line = charge.__code__.co_firstlineno + 1
    assert f'File "{__file__}", line {line}, in charge' in details.traceback
    assert details.traceback.startswith("Traceback (most recent call last):\n")
    assert details.traceback.endswith("\nValueError: no funds")
    assert str(PACKAGE) not in details.traceback
    assert "in run" not in details.traceback


def test_source_lines_are_shown_where_the_caller_can_read_them() -> None:
    def source_line(path: str, line: int) -> str:
        return f"   source of {Path(path).name}:{line}\n"

    details = failure_from_exception(caught(charge), source_line=source_line)
    line = charge.__code__.co_firstlineno + 1
    assert f"line {line}, in charge\n    source of {Path(__file__).name}:{line}\n" in (details.traceback or "")


def test_without_user_frames_there_is_no_traceback() -> None:
    assert failure_from_exception(ValueError("x")) == FailureDetails("ValueError", "x")


def test_a_folder_that_happens_to_have_perdures_name_is_the_users() -> None:
    names: dict[str, Any] = {}
    exec(compile("def run():\n    raise ValueError\n", f"{PACKAGE}_app/main.py", "exec"), names)
    assert f'File "{PACKAGE}_app/main.py", line 2, in run' in (failure_from_exception(caught(names["run"])).traceback or "")


def test_non_retriable_marks_the_failure_itself() -> None:
    error = ValueError()
    error.__cause__ = KeyError()
    details = failure_from_exception(error, non_retriable=True)
    assert details.non_retriable
    assert details.cause is not None
    assert not details.cause.non_retriable


def test_notes_are_kept() -> None:
    error = caught(charge)
    error.add_note("order 7")
    assert (failure_from_exception(error).traceback or "").endswith("\nValueError: no funds\norder 7")


def test_causes_and_unsuppressed_contexts_are_kept() -> None:
    def work() -> None:
        try:
            try:
                charge()
            except ValueError:
                raise KeyError("k")  # noqa: B904 - the context is the point
        except KeyError as error:
            raise PaymentError.DeclinedError("d") from error

    chain = list(failure_from_exception(caught(work)).chain())
    assert [(link.type, link.message) for link in chain] == [
        (f"{__name__}.PaymentError.DeclinedError", "d"),
        ("KeyError", "'k'"),
        ("ValueError", "no funds"),
    ]
    assert "in charge" in (chain[2].traceback or "")
    assert "in charge" not in (chain[0].traceback or "")


def test_suppressed_context_is_left_out() -> None:
    def work() -> None:
        try:
            charge()
        except ValueError:
            raise KeyError("k") from None

    assert failure_from_exception(caught(work)).cause is None


def test_cycle_of_causes_ends() -> None:
    first, second = ValueError("1"), ValueError("2")
    first.__cause__, second.__cause__ = second, first
    assert [link.message for link in failure_from_exception(first).chain()] == ["1", "2"]


def test_long_chain_keeps_both_ends() -> None:
    error = ValueError("0")
    for number in range(1, 5000):
        outer = KeyError(number)
        outer.__cause__ = error
        error = outer
    messages = [link.message for link in wire(failure_from_exception(error)).chain()]
    assert len(messages) == 32
    assert (messages[0], messages[1], messages[-2], messages[-1]) == ("4999", "4998", "1", "0")


def test_exception_group_names_its_sub_exceptions() -> None:
    def work() -> None:
        inner = ExceptionGroup("inner", [caught(charge), KeyError("k")])  # type: ignore[list-item]
        raise ExceptionGroup("tasks", [inner, OSError("disk")])

    details = failure_from_exception(caught(work))
    assert details.type == "ExceptionGroup"
    assert details.message == "tasks (2 sub-exceptions): ValueError: no funds; KeyError: 'k'; OSError: disk"
    assert details.traceback is not None
    assert "in work\n" in details.traceback
    assert "\nSub-exception 1:\nTraceback (most recent call last):\n" in details.traceback
    assert "in charge\n" in details.traceback
    assert details.traceback.endswith("\nSub-exception 3:\nOSError: disk")


def test_large_exception_group_is_bounded() -> None:
    details = failure_from_exception(ExceptionGroup("many", [ValueError(n) for n in range(1000)]))
    assert "ValueError: 9" in details.message
    assert "ValueError: 10" not in details.message


def test_long_texts_keep_both_ends() -> None:
    message = failure_from_exception(ValueError("a" * 50_000 + "z" * 50_000)).message
    assert message.startswith("aaa")
    assert message.endswith("zzz")
    assert "... 83616 characters left out ..." in message
    assert len(message) < 17_000


def test_text_that_is_no_unicode_is_encodable() -> None:
    assert wire(failure_from_exception(ValueError("file \udcff"))).message == "file \\udcff"


@given(st.text(alphabet=st.characters(codec=None)), st.text(alphabet=st.characters(codec=None)))
def test_details_of_any_message_pass_the_wire(message: str, note: str) -> None:
    def work() -> None:
        raise ValueError(message)

    error = caught(work)
    error.add_note(note)
    details = failure_from_exception(error)
    assert wire(details) == details


def test_str_that_raises_is_told_and_the_rest_is_kept() -> None:
    def work() -> None:
        raise UnprintableError from ValueError("root")

    details = failure_from_exception(caught(work))
    assert details.type == f"{__name__}.UnprintableError"
    assert details.message == "<its message is unknown: str() of it raised RuntimeError>"
    assert "in work" in (details.traceback or "")
    assert details.is_caused_by(ValueError)


def test_notes_or_sources_that_raise_cost_only_the_traceback() -> None:
    class Note:
        def __str__(self) -> str:
            raise RuntimeError

    def no_source(path: str, line: int) -> str:
        raise OSError

    assert failure_from_exception(caught(charge), source_line=no_source) == FailureDetails("ValueError", "no funds")
    error = caught(charge)
    error.__notes__ = [Note()]  # type: ignore[attr-defined]
    assert failure_from_exception(error) == FailureDetails("ValueError", "no funds")


def test_class_whose_cause_raises_is_described_without() -> None:
    class EvilError(Exception):
        @property
        def __cause__(self) -> BaseException | None:  # type: ignore[override]
            raise RuntimeError

    details = failure_from_exception(EvilError("x"), non_retriable=True)
    assert details.message == "x"
    assert details.non_retriable


def test_class_whose_name_raises_is_reported_all_the_same() -> None:
    class Meta(type):
        @property
        def __module__(cls) -> str:  # type: ignore[override]
            raise RuntimeError("no name")

    class EvilError(Exception, metaclass=Meta):
        pass

    assert failure_from_exception(EvilError("x")) == FailureDetails(
        "Exception", "an exception that can't be described: RuntimeError was raised on the way"
    )


def test_base_exceptions_are_failures_too() -> None:
    assert failure_from_exception(KeyboardInterrupt()) == FailureDetails("KeyboardInterrupt", "")


def test_qualified_names() -> None:
    assert qualified_name(ValueError) == "ValueError"
    assert qualified_name(PaymentError.DeclinedError) == f"{__name__}.PaymentError.DeclinedError"
    assert qualified_name(TaskFailedError) == "perdure.TaskFailedError"
    assert qualified_name(SerializationError) == "perdure.SerializationError"
    assert qualified_name(type("Odd", (Exception,), {"__module__": None})) == "Odd"


def test_defaults_take_no_room() -> None:
    assert msgspec.json.encode(FailureDetails("ValueError", "x")) == b'{"type":"ValueError","message":"x"}'


# --- the errors ---


def test_task_failed_error_says_what_failed_and_why() -> None:
    error = TaskFailedError("activity 'charge'", 3, FailureDetails("ValueError", "no funds"))
    assert str(error) == "[PD1101] activity 'charge' (task 3) failed: ValueError: no funds"
    assert (error.task_id, error.details.message) == (3, "no funds")


def test_orchestration_failed_error_says_which_and_why() -> None:
    error = OrchestrationFailedError("order-1", FailureDetails("ValueError", "no funds"))
    assert str(error) == "[PD1102] orchestration 'order-1' failed: ValueError: no funds"
    assert error.instance_id == "order-1"
    assert error.is_caused_by(ValueError)
    assert not error.is_caused_by(KeyError)


@pytest.mark.parametrize(
    "error",
    [
        TaskFailedError("activity 'a'", 3, FailureDetails("ValueError", "x")),
        OrchestrationFailedError("id", FailureDetails("ValueError", "x", cause=FailureDetails("KeyError", "y"))),
    ],
)
def test_errors_can_be_pickled(error: RemoteFailureError) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert vars(back) == vars(error)


# --- chains over many levels ---


@pytest.mark.parametrize("levels", [1, 2, 5, 31, 32, 33, 100])
def test_root_cause_is_known_through_any_number_of_levels(levels: int) -> None:
    def activity() -> None:
        try:
            charge()
        except ValueError as error:
            raise PaymentError("order 7") from error

    details = wire(failure_from_exception(caught(lambda: through_perdure(activity))))
    for level in range(levels):
        details = level_up(details, level)
    for error in (TaskFailedError("sub-orchestration 'top'", 1, details), OrchestrationFailedError("id", details)):
        assert error.is_caused_by(ValueError)
        assert error.is_caused_by(PaymentError)
        assert error.is_caused_by("PaymentError")
        assert not error.is_caused_by(KeyError)
    chain = list(details.chain())
    assert len(chain) == min(levels + 2, 32)
    assert chain[0].type == "perdure.TaskFailedError"
    assert chain[0].message.startswith(f"[PD1101] sub-orchestration 'child' (task {levels - 1}) failed: ")
    assert chain[0].message.endswith("order 7")
    assert "in orchestrator" in (chain[0].traceback or "")
    assert f'File "{__file__}", line {charge.__code__.co_firstlineno + 1}, in charge' in (chain[-1].traceback or "")
    assert all(str(PACKAGE) not in (link.traceback or "") for link in chain)
    assert len(msgspec.json.encode(details)) < 1024 * 1024


def test_error_raised_because_of_a_task_failure_keeps_its_chain() -> None:
    def orchestrator() -> None:
        try:
            raise TaskFailedError("activity 'charge'", 0, FailureDetails("ValueError", "no funds", non_retriable=True))
        except TaskFailedError:
            raise PaymentError("gave up")  # noqa: B904 - the context is the point

    chain = list(failure_from_exception(caught(orchestrator)).chain())
    assert [link.type for link in chain] == [f"{__name__}.PaymentError", "perdure.TaskFailedError", "ValueError"]
    assert [link.non_retriable for link in chain] == [False, False, True]


def test_details_of_a_task_failure_win_over_its_python_cause() -> None:
    error = TaskFailedError("activity 'a'", 0, FailureDetails("ValueError", "x"))
    error.__cause__ = KeyError()
    assert [link.type for link in failure_from_exception(error).chain()] == ["perdure.TaskFailedError", "ValueError"]


# --- is_caused_by ---


@pytest.mark.parametrize(
    ("recorded", "asked", "expected"),
    [
        ("FileNotFoundError", OSError, True),
        ("FileNotFoundError", Exception, True),
        ("OSError", FileNotFoundError, False),
        ("FileNotFoundError", "OSError", False),
        ("FileNotFoundError", "FileNotFoundError", True),
        ("shop.errors.DeclinedError", "DeclinedError", True),
        ("shop.errors.DeclinedError", "shop.errors.DeclinedError", True),
        ("shop.errors.DeclinedError", "errors.DeclinedError", False),
        ("shop.errors.DeclinedError", "clinedError", False),
        ("shop.errors.DeclinedError", Exception, False),
        (f"{__name__}.PaymentError.DeclinedError", ValueError, True),
        (f"{__name__}.PaymentError.DeclinedError", PaymentError.DeclinedError, True),
        (f"{__name__}.PaymentError.DeclinedError", PaymentError, False),
        (f"{__name__}.UserTaskError", TaskFailedError, True),
        ("perdure.TaskFailedError", TaskFailedError, True),
        ("perdure.TaskFailedError", PerdureError, True),
        ("perdure.SerializationError", PerdureError, True),
        ("perdure.NoSuchError", PerdureError, False),
        ("print", Exception, False),
        ("int", Exception, False),
        ("", Exception, False),
        (".", Exception, False),
        ("builtins", Exception, False),
        (f"{__name__}.PACKAGE.name", Exception, False),
    ],
)
def test_is_caused_by(recorded: str, asked: type[BaseException] | str, expected: bool) -> None:
    details = FailureDetails("KeyError", "outer", cause=FailureDetails(recorded, "inner"))
    if asked is Exception:
        details = FailureDetails(recorded, "inner")  # a KeyError is an Exception whatever its cause is
    assert details.is_caused_by(asked) is expected


def test_local_classes_match_by_name() -> None:
    class LocalError(ValueError):
        pass

    details = wire(failure_from_exception(LocalError("x")))
    assert details.is_caused_by(LocalError)
    assert details.is_caused_by("LocalError")


def test_names_in_a_payload_import_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    lazy = ModuleType("lazy_shop")

    def import_lazily(name: str) -> object:
        raise AssertionError(f"{name} was looked up")

    lazy.__getattr__ = import_lazily  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "lazy_shop", lazy)
    monkeypatch.setitem(sys.modules, "lazy_shop.none", None)  # type: ignore[arg-type]
    before = set(sys.modules)
    for name in ("lazy_shop.Error", "lazy_shop.none.Error", "wave.Error", "this.Error"):
        assert not FailureDetails(name, "").is_caused_by(Exception)
    assert set(sys.modules) == before


# --- original_exception ---


def test_original_exception_comes_back_as_itself() -> None:
    error = original_exception(failure_from_exception(PaymentError.DeclinedError("no")), (KeyError, PaymentError.DeclinedError))
    assert type(error) is PaymentError.DeclinedError
    assert error.args == ("no",)
    assert error.__cause__ is None


def test_only_exactly_the_types_that_were_given_come_back() -> None:
    details = failure_from_exception(PaymentError.DeclinedError("no"))
    assert original_exception(details, (ValueError, Exception)) is None
    assert original_exception(details, ()) is None


def test_constructor_that_wants_more_is_gone_around() -> None:
    error = original_exception(failure_from_exception(NeedsTwoError(7, "x")), (NeedsTwoError,))
    assert type(error) is NeedsTwoError
    assert str(error) == "7: x"


def test_exception_that_counts_as_false_comes_back() -> None:
    class EmptyError(Exception):
        def __bool__(self) -> bool:
            return False

    assert type(original_exception(failure_from_exception(EmptyError("x")), (EmptyError,))) is EmptyError
    outer = ValueError()
    outer.__cause__ = EmptyError("x")
    assert failure_from_exception(outer).is_caused_by(EmptyError)


def test_what_cannot_be_rebuilt_is_none() -> None:
    class OtherError(Exception):
        def __new__(cls, *args: object) -> Any:
            return ValueError(*args)

    class NeverError(Exception):
        def __new__(cls, *args: object) -> "NeverError":
            if args != ("once",):
                raise RuntimeError
            return super().__new__(cls, *args)

    for cls in (OtherError, NeverError, ExceptionGroup):
        assert original_exception(FailureDetails(qualified_name(cls), "x"), (cls,)) is None
