"""Bounded reads, frame rates, and outputs that come whole or not at all."""

import os
from fractions import Fraction
from pathlib import Path

import pytest

from animask.errors import AnimaskError, InputError
from animask.files import read_bytes, read_fps, read_text, replacing


def test_bytes_up_to_the_limit_and_texts(tmp_path: Path) -> None:
    path = tmp_path / "größe 😀.bin"
    path.write_bytes(b"12345")
    assert read_bytes(path, 5) == b"12345"
    with pytest.raises(InputError, match="4 bytes"):
        read_bytes(path, 4)
    path.write_bytes(b"\xef\xbb\xbfa,b\r\n1,\xc3\xa4\r\n")
    assert read_text(path) == "a,b\r\n1,ä\r\n"
    path.write_bytes(b"a\xff")
    with pytest.raises(InputError, match="no text"):
        read_text(path)


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "link").symlink_to("link")
    os.mkfifo(tmp_path / "pipe")
    for path in (
        *tmp_path.iterdir(),
        tmp_path,
        tmp_path / "missing",
        tmp_path / ("n" * 300),
        tmp_path / "a\0b",
        Path("/dev/zero"),
    ):
        with pytest.raises(InputError):
            read_bytes(path, 100)
    with pytest.raises(InputError) as caught:
        read_bytes(Path("https://example.org/a.png"), 100)
    assert "Download" in caught.value.hint


def test_frame_rates() -> None:
    assert [read_fps(text) for text in ("25", "12.5", "30000/1001")] == [25, Fraction(25, 2), Fraction(30000, 1001)]
    for text in ("", "a", "1/0", "1e9", "1e999999999", "nan", "0", "-5", "2000"):
        with pytest.raises(InputError):
            read_fps(text)


@pytest.mark.parametrize("name", ["a.png", "b", "😀" * 60 + ".mp4"])
def test_an_output_takes_its_place_at_the_end(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    for content in ("one", "two"):
        before = path.read_text() if path.exists() else None
        with replacing(path) as temporary:
            assert temporary.parent == tmp_path and temporary.suffix == path.suffix
            temporary.write_text(content)
            assert (path.read_text() if path.exists() else None) == before
        assert path.read_text() == content
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError])
def test_a_failure_leaves_what_was_there(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(AnimaskError if error is OSError else error), replacing(path) as temporary:
        temporary.write_text("half")
        raise error("no")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_without_overwrite_nothing_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with pytest.raises(InputError), replacing(path, overwrite=False) as temporary:
        temporary.write_text("mine")
        path.write_text("somebody else's, meanwhile")
    with pytest.raises(InputError), replacing(path, overwrite=False):
        pytest.fail("it exists")
    assert path.read_text().startswith("somebody")
    assert list(tmp_path.iterdir()) == [path]


def test_places_without_room_for_an_output(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none" / "a.txt", tmp_path / ("a" * 300)):
        with pytest.raises(AnimaskError), replacing(path):
            pytest.fail("there is no such place")
