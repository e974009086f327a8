"""Readers and the arithmetic of crops, given anything: an answer of the right kind, or a sentence."""

import json
import struct
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from animask.animation import parse_crop, read_pairs
from animask.animation.crops import BEYOND, Crop, around, choose_crop
from animask.animation.pasting import Paste, picture_part
from animask.animation.previews import SIDE, draw_boxes
from animask.config import ModelConfig, TrainConfig, read_toml, update
from animask.errors import InputError
from animask.faces import Box, face_square, fit_square, join_faces
from animask.headers import read_header
from animask.images import centre_square, read_image
from animask.preparation.boxes import COLUMNS, read_boxes
from animask.preparation.records import Record, read_records, write_records
from animask.texts import read_fps

anything = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
sides = st.integers(1, 300)
far = st.integers(-(10**6), 10**6)
words = st.text(max_size=30)
cells = st.one_of(words, st.integers().map(str), st.sampled_from(["1-2-30-40", "25", "9-9-1-1", "1e9", "0", "nan"]))

PICTURES = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    b"\xff\xd8\xff\xe0\0\x10JFIF\0",
    b"GIF89a",
    b"RIFF\xff\0\0\0WEBPVP8 ",
    b"RIFF\xff\0\0\0WEBPVP8L",
    b"RIFF\xff\0\0\0WEBPVP8X",
    b"BM",
    b"II*\0\x08\0\0\0",
    b"MM\0*\0\0\0\x08",
    b"P3 ",
    b"P6 ",
    b"\0\0\0\x0cjP  \r\n\x87\n\xff\x4f\xff\x51",
    b"\0\0\0\x1cftypavif\0\0\0\0avifispe",
)


@anything
@given(st.sampled_from(PICTURES), st.binary(max_size=400))
def test_pictures(tmp_path: Path, head: bytes, tail: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(head + tail)
    try:
        picture = read_image(path, max_pixels=10**6)
    except InputError:
        return
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
    assert picture.shape[0] * picture.shape[1] <= 10**6


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner) | st.dictionaries(words, inner),
    max_leaves=8,
)
tensors = st.fixed_dictionaries({"dtype": values, "shape": values, "data_offsets": values})


@anything
@given(
    values | st.dictionaries(words, st.fixed_dictionaries({"dtype": values, "shape": values, "data_offsets": values}))
)
def test_headers_of_weights(tmp_path: Path, value: object) -> None:
    text = json.dumps(value).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 8)
    try:
        header = read_header(path)
    except InputError:
        return
    assert all(isinstance(dtype, str) for dtype, _ in header.tensors.values())


@anything
@given(st.binary(max_size=300) | words.map(str.encode))
def test_bytes_as_texts(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    for read in (read_toml, read_pairs, read_boxes):
        with suppress(InputError):
            assert isinstance(read(path), dict | list)
    (tmp_path / "prepared.csv").write_bytes(content)
    with suppress(InputError):
        assert isinstance(read_records(tmp_path), list)


@anything
@given(st.dictionaries(st.sampled_from(["width", "cuts", "preset", "scale", "mask_head"]) | words, values, max_size=4))
def test_configurations(changes: dict) -> None:
    for config in (ModelConfig(), TrainConfig()):
        try:
            assert isinstance(update(config, changes), type(config))
        except InputError as error:
            assert error.message


@anything
@given(st.lists(st.lists(cells, min_size=1, max_size=9), max_size=4))
def test_boxes(tmp_path: Path, rows: list[list[str]]) -> None:
    path = tmp_path / "boxes.csv"
    text = "\n".join(",".join(cell.replace(",", ";").replace("\n", " ") for cell in row) for row in rows)
    path.write_text(f"{','.join(COLUMNS)}\n{text}\n", errors="surrogatepass")
    try:
        found = read_boxes(path)
    except InputError:
        return
    for boxes in found.values():
        for box in boxes:
            start, end = box.frames(Fraction(25))
            x, y, size = box.square(200, 300)
            assert 0 <= start <= end and x >= 0 and y >= 0 and x + size <= 300 and y + size <= 200


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@anything
@given(st.lists(st.tuples(names, st.integers(0, 10**9), names, names, names), max_size=5))
def test_records_come_back(tmp_path: Path, rows: list[tuple[str, int, str, str, str]]) -> None:
    records = [Record(*row[:4], reason=row[4]) for row in rows]
    write_records(tmp_path, records)
    assert sorted(read_records(tmp_path)) == sorted(records)


@anything
@given(st.text(max_size=20) | st.fractions(0, 10**6).map(str))
def test_frame_rates(text: str) -> None:
    try:
        assert len(str(read_fps(text))) < 50
    except InputError as error:
        assert "frame rate" in error.message


# crops


@anything
@given(st.text(max_size=20) | st.tuples(far, far, far).map(lambda x: ",".join(map(str, x))), sides, sides)
def test_squares_that_are_given(text: str, height: int, width: int) -> None:
    try:
        parse_crop(text)
        x, y, size = choose_crop(text, height, width, lambda: Crop(centre_square(height, width), "")).square
    except InputError:
        return
    assert 1 <= size <= BEYOND * max(height, width)
    assert x < width and y < height and x + size > 0 and y + size > 0


@anything
@given(far, far, st.floats(0, 10**6), sides, sides)
def test_a_fitted_square_lies_in_the_picture(x: int, y: int, side: float, height: int, width: int) -> None:
    left, top, size = fit_square(x, y, side, height, width)
    assert 1 <= size <= min(height, width)
    assert left >= 0 and top >= 0 and left + size <= width and top + size <= height


boxes = st.builds(Box, far, far, st.integers(1, 10**4), st.integers(1, 10**4))


@anything
@given(st.lists(st.lists(boxes, max_size=3), min_size=1, max_size=5), sides, sides)
def test_squares_around_faces_lie_in_the_picture(found: list[list[Box]], height: int, width: int) -> None:
    squares = [face_square(box, height, width) for faces in found for box in faces]
    if (joined := join_faces(found, height, width)) is not None:
        squares.append(joined)
    assert (joined is None) == (not any(found))
    for x, y, size in squares:
        assert size >= 1 and x >= 0 and y >= 0 and x + size <= width and y + size <= height


@anything
@given(sides, sides)
def test_the_square_of_all_is_the_smallest_around_it(height: int, width: int) -> None:
    x, y, size = around(height, width)
    assert size == max(height, width)
    assert x <= 0 and y <= 0 and x + size >= width and y + size >= height


@anything
@given(sides, sides, st.integers(-400, 400), st.integers(-400, 400), st.integers(1, 500), st.sampled_from([16, 64]))
def test_what_is_pasted_stays_in_its_square(height: int, width: int, x: int, y: int, size: int, side: int) -> None:
    if x >= width or y >= height or x + size <= 0 or y + size <= 0:
        return
    picture = np.full((height, width, 3), 9, np.uint8)
    result = Paste(picture, (x, y, size))(np.full((side, side, 3), 250, np.uint8))
    assert result.shape == (height + height % 2, width + width % 2, 3)
    outside = np.ones(result.shape[:2], bool)
    outside[max(0, y) : max(0, y + size), max(0, x) : max(0, x + size)] = False
    assert (result[outside] == 9).all()
    rows, columns = picture_part((x, y, size), height, width, side)
    assert 0 <= rows.start < rows.stop <= side and 0 <= columns.start < columns.stop <= side
    assert (rows.stop - rows.start) % 2 == 0 and (columns.stop - columns.start) % 2 == 0


@anything
@given(sides, sides, st.integers(-400, 400), st.integers(-400, 400), st.integers(1, 900), st.lists(boxes, max_size=3))
def test_any_square_can_be_drawn(height: int, width: int, x: int, y: int, size: int, faces: list[Box]) -> None:
    crop = Crop((x, y, size), "", tuple(faces))
    assert draw_boxes(np.zeros((height, width, 3), np.uint8), crop).shape == (SIDE, SIDE, 3)


@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_the_centre_is_in_the_centre(height: int, width: int) -> None:
    x, y, size = centre_square(height, width)
    assert size == min(height, width)
    assert 0 <= width - (x + size) - x <= 1 and 0 <= height - (y + size) - y <= 1
