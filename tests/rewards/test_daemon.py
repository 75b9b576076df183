from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from marblecli.rewards.daemon import DaemonExecutor


def test_calls_run_in_order_and_give_their_results() -> None:
    order: list[int] = []
    executor = DaemonExecutor("t")
    futures = [executor.submit(lambda n: order.append(n) or n * n, n) for n in range(20)]
    assert [future.result(10) for future in futures] == [n * n for n in range(20)]
    assert order == list(range(20))
    executor.close(1.0)


def test_several_threads_run_calls_in_parallel() -> None:
    executor, together = DaemonExecutor("t", 3), threading.Barrier(3)
    futures = [executor.submit(together.wait, 10) for _ in range(3)]
    assert sorted(future.result(10) for future in futures) == [0, 1, 2]
    executor.close(1.0)


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt()])
def test_any_exception_reaches_the_caller_and_does_not_end_the_thread(error: BaseException) -> None:
    def fail() -> None:
        raise error

    executor = DaemonExecutor("t")
    assert executor.submit(fail).exception(10) is error
    assert executor.submit(int, "7").result(10) == 7
    executor.close(1.0)


def test_closing_cancels_waiting_calls_and_leaves_one_that_never_ends() -> None:
    executor, started, gate = DaemonExecutor("t"), threading.Event(), threading.Event()

    def stay() -> None:
        started.set()
        gate.wait(30)

    running = executor.submit(stay)
    waiting = executor.submit(int)
    assert started.wait(10)
    assert executor.waiting
    began = time.monotonic()
    executor.close(0.2)
    assert 0.15 < time.monotonic() - began < 5
    assert waiting.cancelled()
    assert not running.done()
    gate.set()
    running.result(10)


def test_closing_waits_for_a_running_call() -> None:
    executor = DaemonExecutor("t")
    future = executor.submit(time.sleep, 0.2)
    time.sleep(0.05)
    executor.close(10.0)
    assert future.done()


def test_a_closed_executor_refuses_calls() -> None:
    executor = DaemonExecutor("t")
    executor.close(1.0)
    executor.close(1.0)
    with pytest.raises(RuntimeError, match="closed"):
        executor.submit(int)


def test_a_call_that_never_ends_does_not_keep_the_process_from_ending() -> None:
    code = "import time; from marblecli.rewards.daemon import DaemonExecutor as D;"
    code += "f = D('t').submit(time.sleep, 3600); time.sleep(0.1); assert f.running()"
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert time.monotonic() - began < 30
