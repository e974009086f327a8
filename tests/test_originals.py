"""What a data set is made from: everything that `animate` opens, named after who is seen in it."""

from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from animask.errors import InputError
from animask.images import write_image
from animask.originals import MAX_NAME_BYTES, find_kind, list_originals
from animask.video import probe

PICTURE = np.full((32, 32, 3), 90, np.uint8)


def write(path, form, codec):
    """A video of 10 grey frames in a container."""
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 352, 288, "yuv420p"
        for level in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((288, 352, 3), 10 * level, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize(
    ("name", "form", "codec"),
    [
        ("a.3gp", "3gp", "mpeg4"),
        ("a.m2ts", "mpegts", "mpeg2video"),
        ("a.mxf", "mxf", "mpeg2video"),
        ("unnamed", "mp4", "mpeg4"),
    ],
)
def test_every_container_that_is_opened_is_a_video(tmp_path, name, form, codec):
    write(tmp_path / name, form, codec)
    assert probe(tmp_path / name).width == 352
    assert [original.label for original in list_originals([tmp_path], tmp_path / "out")[0]] == [name]


@pytest.mark.parametrize("suffix", [".gif", ".png"])
def test_moving_pictures_are_videos_and_others_are_not(tmp_path, suffix):
    frames = [Image.fromarray(PICTURE + step) for step in (0, 50, 100)]
    frames[0].save(tmp_path / f"moving{suffix}", save_all=True, append_images=frames[1:], duration=40)
    frames[0].save(tmp_path / f"still{suffix}")
    assert find_kind(tmp_path / f"moving{suffix}") == "video" and find_kind(tmp_path / f"still{suffix}") == "picture"


def test_what_is_left_out_is_counted(tmp_path):
    """A broken video is not left out: it is named later. Hidden files and the output do not count."""
    write(tmp_path / "a.mp4", "mp4", "mpeg4")
    (tmp_path / "broken.mov").write_bytes(b"not a video")
    for name in ("notes.txt", "list.csv", ".hidden.txt"):
        (tmp_path / name).write_text("1,2,3\n")
    write_image(tmp_path / "cover.jpg", PICTURE)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "prepared.json").write_text("{}")
    originals, left_out = list_originals([tmp_path], tmp_path / "out")
    assert [original.label for original in originals] == ["a.mp4", "broken.mov"]
    assert left_out == {"no video or picture": 2, "a still picture": 1}
    stills, left_out = list_originals([tmp_path], tmp_path / "out", stills=True)
    assert [still.label for still in stills] == ["cover.jpg"]
    assert left_out == {"no video or picture": 2, "a video": 2}


def test_identities_are_sub_folders_or_files(tmp_path):
    for name in ("alice/a.mp4", "alice/day#1/b.MOV", "talk.webm", "id7#part#2.avi", ".hidden/c.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = {original.key: original.label for original in list_originals([tmp_path], tmp_path / "out")[0]}
    assert found == {
        "alice#a": "alice/a.mp4",
        "alice#day-1-b": "alice/day#1/b.MOV",
        "talk": "talk.webm",
        "id7#part-2": "id7#part#2.avi",
    }


def test_a_folder_of_pictures_is_a_video(tmp_path):
    (tmp_path / "dora").mkdir()
    for number in range(3):
        write_image(tmp_path / "dora" / f"{number}.png", PICTURE)
    (original,), left_out = list_originals([tmp_path], tmp_path / "out")
    assert (original.key, original.path, left_out) == ("dora", tmp_path / "dora", {})
    assert list_originals([tmp_path / "dora"], tmp_path / "out")[0][0].key == "dora"


def test_two_of_one_name_are_refused(tmp_path):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "a.mov").touch()
    with pytest.raises(InputError, match="become a"):
        list_originals([tmp_path], tmp_path / "out")
    assert len(list_originals([tmp_path / "a.mp4", tmp_path / "a.mp4"], tmp_path / "out")[0]) == 1


def test_inputs_without_videos_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("absent", "empty"):
        with pytest.raises(InputError, match=name):
            list_originals([tmp_path / name], tmp_path / "out")


def test_long_names_are_cut_and_stay_different(tmp_path):
    names = ["a" + "é" * 110 + ".mp4", "b" + "é" * 110 + ".mp4"]
    for name in names:
        (tmp_path / name).touch()
    originals, _ = list_originals([tmp_path], tmp_path / "out")
    assert len({original.key for original in originals}) == 2
    assert all(len(original.name.encode()) <= MAX_NAME_BYTES for original in originals)
