"""Activities in worker processes. Real processes are the subject, so these tests take their time; FIFOs keep them in step."""

import asyncio
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.unit import activity_samples as samples
from tests.unit.activity_harness import Harness, activity, failure_of, work

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="FIFOs and signals")


@pytest.fixture(autouse=True)
def no_process_left_behind() -> Iterator[None]:
    yield
    assert not multiprocessing.active_children()


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


async def read(fifo: Path) -> str:
    reading = asyncio.ensure_future(asyncio.to_thread(fifo.read_text))
    try:
        async with asyncio.timeout(60):
            return await asyncio.shield(reading)
    except TimeoutError:
        # A thread that waits for a writer can't be cancelled, and the interpreter waits for it: give it an empty text.
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        await reading
        raise


def quoted(path: Path) -> str:
    return f'"{path}"'


async def test_a_worker_process_serves_many_activities() -> None:
    async with Harness(
        activity(samples.process_id, "process", takes_input=False),
        activity(samples.add_up, "process", input_type=samples.Point),
        activity(samples.deep_context, "process", name="Deep"),
        activity(samples.repeat, "process"),
        activity(samples.survive_interrupt, "process", takes_input=False),
        max_payload_bytes=2_000_000,
    ) as h:
        pids = {(await h.outcome(work("process_id"))).result for _ in range(3)}
        assert len(pids) == 1
        assert str(os.getpid()) not in pids
        assert (await h.outcome(work("add_up", '{"x":1,"y":2}'))).result == "3"
        assert (await h.outcome(work("deep", task=5))).result == '["Deep","i",5,1,"i/0/5"]'
        assert (await h.outcome(work("repeat", "1000000"))).result == f'"{"x" * 1_000_000}"'
        assert (await h.outcome(work("survive_interrupt"))).result == '"alive"'
        too_long = failure_of(await h.outcome(work("repeat", "2000000")))
        assert too_long.non_retriable
        misfit = failure_of(await h.outcome(work("add_up", '{"x":"one"}')))
        assert misfit.non_retriable
        assert {(await h.outcome(work("process_id"))).result} == pids


async def test_an_exception_of_a_worker_process_brings_its_traceback_and_leaves_the_process_alive() -> None:
    async with Harness(
        activity(samples.fail_in_child, "process"),
        activity(samples.exit_politely, "process", takes_input=False),
        activity(samples.process_id, "process", takes_input=False),
    ) as h:
        before = (await h.outcome(work("process_id"))).result
        failure = failure_of(await h.outcome(work("fail_in_child", '"why"')))
        assert (failure.type, failure.message) == ("LookupError", "why")
        assert "raise LookupError(text)" in (failure.traceback or "")
        failure = failure_of(await h.outcome(work("exit_politely")))
        assert (failure.type, failure.message) == ("SystemExit", "7")
        assert (await h.outcome(work("process_id"))).result == before


async def test_a_dead_worker_process_is_a_failure_that_says_how_it_died_and_is_replaced(fifo: Path) -> None:
    async with Harness(
        activity(samples.exit_hard, "process"),
        activity(samples.signal_self, "process"),
        activity(samples.fork_and_die, "process"),
        activity(samples.process_id, "process", takes_input=False),
    ) as h:
        failure = failure_of(await h.outcome(work("exit_hard", "3")))
        assert failure.type == "perdure.ActivityWorkerDiedError"
        assert "exited with code 3 before it had finished activity 'exit_hard' of instance 'i'" in failure.message
        assert not failure.non_retriable
        failure = failure_of(await h.outcome(work("signal_self", str(int(signal.SIGKILL)))))
        assert "was killed by SIGKILL (" in failure.message
        failure = failure_of(await h.outcome(work("signal_self", str(int(signal.SIGSEGV)))))
        assert "was killed by SIGSEGV before" in failure.message
        failure = failure_of(await h.outcome(work("fork_and_die", quoted(fifo))))
        assert "exited with code 9" in failure.message
        await asyncio.to_thread(fifo.write_text, "end the orphan")
        assert (await h.outcome(work("process_id"))).result is not None


async def test_a_worker_process_that_died_while_idle_costs_no_activity() -> None:
    async with Harness(activity(samples.process_id, "process", takes_input=False)) as h:
        first = (await h.outcome(work("process_id"))).result
        (child,) = multiprocessing.active_children()
        os.kill(child.pid or 0, signal.SIGKILL)
        await asyncio.to_thread(os.waitid, os.P_PID, child.pid or 0, os.WEXITED | os.WNOWAIT)
        second = await h.outcome(work("process_id"))
        assert second.failure is None
        assert second.result != first


async def test_on_timeout_a_process_may_end_in_order(fifo: Path) -> None:
    async with Harness(activity(samples.wait_for_token, "process", timeout=1)) as h:
        h.dispatch(work("wait_for_token", quoted(fifo)))
        assert (await read(fifo)).isdigit()
        assert await read(fifo) == "obeyed"
        failure = failure_of((await h.until(1))[0])
        assert failure.type == "TimeoutError"
        assert "'wait_for_token'" in failure.message


async def test_on_timeout_a_process_that_does_not_obey_is_killed_and_replaced(fifo: Path) -> None:
    async with Harness(
        activity(samples.ignore_token, "process", timeout=1),
        activity(samples.process_id, "process", takes_input=False),
        kill_grace=0.05,
    ) as h:
        h.dispatch(work("ignore_token", quoted(fifo)))
        pid = int(await read(fifo))
        assert failure_of((await h.until(1))[0]).type == "TimeoutError"
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert (await h.outcome(work("process_id"))).result != str(pid)


async def test_cancelling_an_instance_stops_its_process_silently_and_at_once(fifo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.engine.activities.child._TICK", 3600)
    async with Harness(
        activity(samples.wait_for_token, "process"), activity(samples.process_id, "process", takes_input=False)
    ) as h:
        h.dispatch(work("wait_for_token", quoted(fifo), instance="a", task=0))
        await read(fifo)
        h.dispatch(work("wait_for_token", quoted(fifo), instance="a", task=1))
        assert (h.executor.running, h.executor.backlog) == (1, 1)
        h.executor.cancel_instance("a")
        assert await read(fifo) == "obeyed"
        outcome = await h.outcome(work("process_id", instance="b"))
        assert outcome.work.instance_id == "b"
    assert len(h.outcomes) == 1


async def test_an_activity_cancelled_before_its_process_started_starts_none(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr("perdure.engine.activities.processes.ChildProcess", lambda *args: started.append(args))
    async with Harness(activity(samples.process_id, "process", takes_input=False)) as h:
        with monkeypatch.context() as patch:
            held_back: list[threading.Thread] = []
            patch.setattr(threading.Thread, "start", lambda thread: held_back.append(thread))
            h.dispatch(work("process_id"))
        h.executor.cancel_instance("i")
        (thread,) = held_back
        thread.start()
    assert not started


async def test_closing_kills_what_does_not_end(fifo: Path) -> None:
    async with Harness(activity(samples.ignore_token, "process"), kill_grace=0.05) as h:
        h.dispatch(work("ignore_token", quoted(fifo)))
        pid = int(await read(fifo))
        await h.executor.close(timedelta())
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not h.outcomes


async def test_processes_work_side_by_side(tmp_path: Path) -> None:
    fifos = [tmp_path / "one", tmp_path / "two"]
    async with Harness(activity(samples.wait_for_token, "process"), max_processes=2) as h:
        for task, fifo in enumerate(fifos):
            os.mkfifo(fifo)
            h.dispatch(work("wait_for_token", quoted(fifo), instance=str(task)))
        pids = {await read(fifo) for fifo in fifos}
        assert len(pids) == 2
        for task, fifo in enumerate(fifos):
            h.executor.cancel_instance(str(task))
            assert await read(fifo) == "obeyed"


async def test_what_a_worker_process_cannot_import_fails_with_the_reason() -> None:
    def local(_: object) -> None: ...

    class Local:
        pass

    def impostor() -> None: ...

    impostor.__module__ = "tests.unit.activity_samples"
    impostor.__qualname__ = "gone"
    async with Harness(
        activity(local, "process"),
        activity(lambda _: None, "process", name="anonymous"),
        activity(samples.add_up, "process", input_type=Local),
        activity(impostor, "process"),
    ) as h:
        for name in ("local", "anonymous", "add_up", "impostor"):
            failure = failure_of(await h.outcome(work(name, "{}")))
            assert failure.type == "perdure.ActivityImportError"
            assert failure.non_retriable
            assert f"'{name}'" in failure.message
            assert "importable at module level" in failure.message


MAIN = """
import asyncio, os, sys
from datetime import timedelta
from tests.unit import activity_samples as samples
from tests.unit.activity_harness import Harness, activity, work

def shout(text: str) -> str:
    return text.upper()

async def main():
    h = Harness(activity(shout, "process"))
    h.executor.start(asyncio.get_running_loop())
    h.dispatch = h.executor.dispatch
    outcome = await h.outcome(work("shout", '"hello"'))
    print(outcome.result or outcome.failure.message)
    if "close" in sys.argv:
        await h.executor.close(timedelta(seconds=1))

"""


async def run_main(path: Path, ending: str, *args: str) -> tuple[int | None, str, str]:
    await asyncio.to_thread(path.write_text, MAIN + ending)
    root = Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(path),
        *args,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{root / 'src'}"},
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("args", [["close"], []], ids=["closed", "not closed"])
async def test_an_activity_of_the_main_module_works_and_nothing_keeps_the_interpreter_from_exiting(
    tmp_path: Path, args: list[str]
) -> None:
    code, out, err = await run_main(tmp_path / "app.py", "if __name__ == '__main__':\n    asyncio.run(main())\n", *args)
    assert (code, out, err) == (0, '"HELLO"\n', "")


async def test_a_main_module_without_guard_fails_with_a_hint(tmp_path: Path) -> None:
    _, out, _ = await run_main(tmp_path / "app.py", "asyncio.run(main())\nsys.stdout.flush()\nos._exit(5)\n", "close")
    assert "exited with code 5 before it could start" in out
    assert "if __name__ == '__main__'" in out


async def test_a_worker_process_ends_with_its_engine_whatever_it_is_doing(tmp_path: Path, fifo: Path) -> None:
    def kill_the_engine_and_read_to_the_end() -> str:
        with fifo.open() as file:
            os.kill(int(file.readline()), signal.SIGKILL)
            return file.read()

    reading = asyncio.create_task(asyncio.to_thread(kill_the_engine_and_read_to_the_end))
    run = f"""
async def hang():
    async with Harness(activity(samples.hold_open, "process")) as h:
        await h.outcome(work("hold_open", {quoted(fifo)!r}))

if __name__ == '__main__':
    asyncio.run(hang())
"""
    code, _, _ = await run_main(tmp_path / "app.py", run)
    assert code == -signal.SIGKILL
    async with asyncio.timeout(60):
        assert await reading == ""
