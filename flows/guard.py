"""Runs a command that must not outlive its caller: `python guard.py GRACE COMMAND...`.

The command gets a process group of its own. When the guard's standard input closes - its caller closed it, or died,
even by kill -9 - the group gets SIGINT, as DVC then leaves no lock behind, and after GRACE seconds SIGKILL. What the
command left running is killed when it ends. On the standard library alone, as one starts for each stage.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time


def guard(grace: float, command: list[str]) -> int:
    """Runs the command and returns its exit code; of a command that a signal ended, 128 + the signal."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)
    threading.Thread(target=_stop_at_end_of_input, args=(child, grace), daemon=True).start()
    code = child.wait()
    _signal(child, signal.SIGKILL)
    return code if code >= 0 else 128 - code


def _stop_at_end_of_input(child: subprocess.Popen[bytes], grace: float) -> None:
    """Waits until nobody holds the other end of our standard input, then ends the group."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    until = time.monotonic() + grace
    _signal(child, signal.SIGINT)
    while child.poll() is None and time.monotonic() < until:
        time.sleep(0.1)
    _signal(child, signal.SIGKILL)


def _signal(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: None)  # who stops the caller's group at a terminal stops us by our input
    sys.exit(guard(float(sys.argv[1]), sys.argv[2:]))
