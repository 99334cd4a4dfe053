"""Long work tells how far it is: a bar where somebody watches, lines where a log is kept."""

from __future__ import annotations

import logging
import os
import pty
import subprocess
import sys
import termios

import pytest

from itkm import progress as module
from itkm.progress import progress

SLOW = """
import time
from itkm.progress import progress
for item in progress(range(3), total=3, title="cluster", unit="image"):
    time.sleep(0.6)
"""


def test_lines_tell_how_far_it_is(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.0)
    with caplog.at_level(logging.INFO, logger="itkm.progress"):
        assert list(progress("abc", total=3, title="embed")) == ["a", "b", "c"]
    assert [record.getMessage() for record in caplog.records] == [f"embed: {done} of 3" for done in range(3)]


def test_what_takes_a_moment_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="itkm.progress"):
        assert sum(progress(range(1000), total=1000, title="embed")) == 499_500
    assert not caplog.records


def test_of_several_processes_the_first_tells(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.0)
    monkeypatch.setenv("RANK", "1")
    with caplog.at_level(logging.INFO, logger="itkm.progress"):
        assert list(progress(range(3), total=3, title="embed")) == [0, 1, 2]
    assert not caplog.records


def test_a_terminal_shows_a_bar_that_goes_away() -> None:
    keyboard, screen = pty.openpty()
    termios.tcsetwinsize(screen, (24, 80))  # it has no columns otherwise
    subprocess.run([sys.executable, "-c", SLOW], stderr=screen, check=True)
    os.close(screen)
    shown = b""
    try:
        while read := os.read(keyboard, 4096):
            shown += read
    except OSError:  # the end of a terminal, on Linux
        pass
    os.close(keyboard)
    last = shown.decode().split("\r")
    assert "cluster" in last[1] and "image" in last[1]
    assert not last[-1].strip()
