"""Training steps back behind calls; what answers steps forward where the system lets it."""

import os
import resource
import subprocess
import sys

import pytest

from parley.priority import FIRST, LAST, starting_first

NICE = "import os; print(os.getpriority(os.PRIO_PROCESS, 0))"


def niceness_of(code: str) -> int:
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("verb", ["dataset", "train", "export", "evaluate"])
def test_long_work_steps_back(verb: str) -> None:
    code = f"import sys; from cli import main; sys.argv = ['parley', {verb!r}]\n"
    code += f"main.exit_with = lambda run: None; main.main(); {NICE}"

    assert niceness_of(code) == max(LAST, os.getpriority(os.PRIO_PROCESS, 0))


def test_what_stands_further_back_stays_there() -> None:
    code = f"import os; os.nice(40); from parley.priority import step_back; step_back(); {NICE}"

    assert niceness_of(code) == 19


TWO_THREADS = """
import os, threading
from parley.priority import put_first
done = threading.Event()
thread = threading.Thread(target=done.wait)
thread.start()
allowed = put_first(os.getpid())
print(allowed, *{os.getpriority(os.PRIO_PROCESS, int(n)) for n in os.listdir("/proc/self/task")})
done.set()
"""


def test_all_threads_of_a_replica_go_first_where_that_is_allowed() -> None:
    allowed = os.getuid() == 0 or 20 - resource.getrlimit(resource.RLIMIT_NICE)[0] <= FIRST

    said = subprocess.run([sys.executable, "-c", TWO_THREADS], capture_output=True, text=True, check=True).stdout

    assert said.split() == [str(allowed), str(FIRST if allowed else os.getpriority(os.PRIO_PROCESS, 0))]


def test_what_is_started_first_goes_first_and_its_starter_does_not() -> None:
    allowed = os.getuid() == 0 or 20 - resource.getrlimit(resource.RLIMIT_NICE)[0] <= FIRST
    before = os.getpriority(os.PRIO_PROCESS, 0)

    with starting_first():
        child = niceness_of(NICE)

    assert child == (FIRST if allowed else before)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
