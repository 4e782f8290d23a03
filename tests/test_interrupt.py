"""Signals: answered between two steps where they can be, and by leaving where they cannot."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from command_line import ANNOUNCED, PROGRESS

from lattice_flows.io.interrupt import PATIENCE, SIGNALS, deferred, leave_at_once, writing

SLACK = 10.0  # seconds, on a busy machine
BUSY = """
import ctypes
library, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
print("busy", flush=True)
for _ in range(2):  # the second time it waits for itself
    library.pthread_mutex_lock(mutex)
"""
"""The main thread is in C code, as in a compilation, and no handler of Python's runs."""


def ended(body: str, *numbers: signal.Signals, pause: float = 0.0) -> tuple[int, str, float]:
    """Exit code, stderr and seconds it took a process that gets the signals once it says "busy"."""
    process = subprocess.Popen(
        [sys.executable, "-c", body], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "busy\n"
        begin = time.monotonic()
        for number in numbers:
            process.send_signal(number)
            time.sleep(pause)
        errors = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    return process.returncode, errors, time.monotonic() - begin


def within(head: str) -> str:
    body = BUSY.replace("\n", "\n    ")
    return f"from lattice_flows.io.interrupt import *\nwith {head}:{body}"


def test_the_signals():
    assert {n.name for n in SIGNALS} == {"SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP", "SIGXCPU"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_main_thread_that_does_not_answer_is_given_up(number):
    code, errors, seconds = ended(within("deferred(abandon=lambda: 'saved; go on')"), number)
    assert (code, errors) == (75, "Error: saved; go on\n")
    assert PATIENCE - 0.5 < seconds < PATIENCE + SLACK


def test_a_second_ctrl_c_does_not_wait():
    body = within("deferred(abandon=lambda: 'saved; go on')")
    code, errors, seconds = ended(body, signal.SIGINT, signal.SIGINT, pause=0.3)
    assert (code, errors) == (75, "Error: saved; go on\n")
    assert seconds < PATIENCE


@pytest.mark.parametrize("number", SIGNALS)
def test_what_keeps_nothing_leaves_at_once(number):
    code, errors, seconds = ended(within("leave_at_once('stopped', 1)"), number)
    assert (code, errors) == (1, "Error: stopped\n")
    assert seconds < SLACK


def test_a_main_thread_that_answers_has_its_time():
    body = """
import os, signal, time
from lattice_flows.io import interrupt
interrupt.PATIENCE = 0.2
with interrupt.deferred(abandon=lambda: 'given up') as interrupted:
    os.kill(os.getpid(), signal.SIGTERM)
    assert interrupted()
    time.sleep(1)
print("busy")
"""
    code, errors, _ = ended(body)
    assert (code, errors) == (0, "")


def test_a_write_is_not_cut_short(tmp_path):
    target = tmp_path / "whole"
    body = f"""
import os, signal, time
from lattice_flows.io import interrupt
interrupt.PATIENCE = 0.2
@interrupt.writing()
def write():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(1)
    open({str(target)!r}, "w").write("whole")
print("busy", flush=True)
with interrupt.deferred(abandon=lambda: 'given up'):
    write()
    while True:
        pass
"""
    code, errors, _ = ended(body)
    assert (code, errors) == (75, "Error: given up\n")
    assert target.read_text() == "whole"


def test_a_hang_up_that_is_ignored_stays_so():
    """As under nohup."""
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with deferred() as interrupted, leave_at_once("stopped", 1):
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interrupted()
    finally:
        signal.signal(signal.SIGHUP, former)


def test_nothing_is_left_behind():
    """Neither threads, nor files, nor handlers, nor the file descriptor that signals wake."""

    def state():
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
        return threading.active_count(), descriptors, [signal.getsignal(n) for n in SIGNALS]

    before = state()
    for _ in range(20):
        with leave_at_once("stopped", 1), deferred(abandon=lambda: "saved") as interrupted:
            os.kill(os.getpid(), signal.SIGTERM)
            assert interrupted()
        with pytest.raises(ZeroDivisionError), deferred(abandon=lambda: "saved"), writing():
            raise ZeroDivisionError
    assert state() == before
    former = signal.set_wakeup_fd(-1)
    assert former == -1


@pytest.mark.parametrize(
    "arguments",
    ["hmc phi4 --shape 8x8 --m 0.2 -n 4000000 -o x.nc", "exact phi4 --sites 512 --m 0:1:5000"],
)
@pytest.mark.parametrize("delay", [0.5, 4.0])
def test_a_command_ends_with_one_line(tmp_path, arguments, delay):
    """While modules are loaded, and at work, where it was a segmentation fault or took minutes."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lattice_flows.scripts.cli", *arguments.split()],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    while len(list(Path(f"/proc/{process.pid}/task").iterdir())) < 2:  # until there is a watcher
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(delay)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    assert time.monotonic() - begin < SLACK
    begun = rf"(?:{ANNOUNCED})?(?:{PROGRESS})*"
    if process.returncode == 75:  # at work already, and what is drawn is kept
        assert arguments.startswith("hmc")
        rest, told = re.subn(r"^SIGINT[^\n]+\n", "", errors, flags=re.MULTILINE)
        assert told <= 1  # the watcher tells of it whenever it comes, before the first line, too
        assert re.fullmatch(rf"{begun}Error: [^\n]+--resume[^\n]*\n", rest)
    else:
        assert process.returncode == 1
        assert re.fullmatch(rf"{begun}Error: interrupted before it was done[^\n]+\n", errors)
    assert not (tmp_path / "x.nc").exists()
