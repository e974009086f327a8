"""What people see while they wait."""

import io
import re
import sys

import pytest

from animask.cli import screen


def test_files_get_lines_and_loading_is_no_part_of_the_speed(monkeypatch, capsys):
    """100 seconds until the first frame, then one a second: 10 seconds later, 19 of 30 frames take 19 seconds."""
    now = 0.0
    monkeypatch.setattr(screen.time, "monotonic", lambda: now)
    with screen.progress_bar("animating", "frames", False) as show:
        for second in range(30):
            now = 100.0 + second
            show(1 + second, 30)
    assert capsys.readouterr().err.splitlines() == [
        "animating: 11 of 30 frames, 1.0/s, 19 s left",
        "animating: 21 of 30 frames, 1.0/s, 9 s left",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("quiet", [False, True])
def test_a_terminal_shows_a_bar_with_count_speed_and_time_left(quiet, monkeypatch):
    for name, value in (("TERM", "xterm"), ("COLUMNS", "100")):
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with screen.progress_bar("animating", "frames", quiet) as show:
        for done in range(1, 6):
            show(done, 5)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    assert bool(re.search(r"animating ━+ 5/5 \d+\.\d frames/s 0:00:00", shown)) != quiet
    assert quiet == (terminal.getvalue() == "")
