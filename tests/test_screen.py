"""What people see while they wait."""

import io
import re
import sys

import pytest

from animask.cli import screen


def test_loading_is_no_part_of_the_speed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """100 seconds until the first frame, then one a second: 10 seconds later, 19 of 30 frames take 19 seconds."""
    now = 0.0
    monkeypatch.setattr(screen.time, "monotonic", lambda: now)
    show = screen.lines("animating", "frames")
    now = 100.0
    show(1, 30)
    assert capsys.readouterr().err == ""
    for second in range(1, 30):
        now = 100.0 + second
        show(1 + second, 30)
    assert capsys.readouterr().err.splitlines() == [
        "animating: 11 of 30 frames, 1.0/s, 19 s left",
        "animating: 21 of 30 frames, 1.0/s, 9 s left",
    ]


def test_nothing_new_has_no_speed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    monkeypatch.setattr(screen.time, "monotonic", lambda: now)
    show = screen.lines("animating", "frames")
    for now in (5.0, 50.0):  # noqa: B007
        show(0, 30)
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """stderr, from now on; within a test, because pytest sets it anew between a fixture and its test."""
    for name, value in (("TERM", "xterm"), ("COLUMNS", "100")):
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    return terminal


def test_a_terminal_shows_a_bar_with_count_speed_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)

    def shown() -> str:
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())

    with screen.progress_bar("animating", "frames", False) as show:
        assert show is not None
        assert re.search(r"animating ━+ 0/\?", shown()), "before the first frame, too"
        for done in range(1, 6):
            show(done, 5)
    assert re.search(r"animating ━+ 5/5 \d+\.\d frames/s 0:00:00", shown())
    assert terminal.getvalue().rstrip().endswith("\x1b[2K"), "it is taken away in the end"


def test_quiet_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    with screen.progress_bar("animating", "frames", True) as show:
        assert show is None
    assert terminal.getvalue() == ""


def test_files_get_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(screen.time, "monotonic", lambda: now)
    with screen.progress_bar("evaluating", "videos", False) as show:
        assert show is not None
        show(0, 3)
        now = 20.0
        show(2, 3)
    assert capsys.readouterr().err == "evaluating: 2 of 3 videos, 0.1/s, 10 s left\n"
