"""What a data set is made from: everything that `animate` opens, named after who is seen in it."""

import shutil

import numpy as np
import pytest
from PIL import Image

from animask.errors import InputError
from animask.images import write_image
from animask.preparation import MAX_NAME_BYTES, list_originals

PICTURE = np.full((32, 32, 3), 90, np.uint8)


def make(root, *names):
    """Files that are videos by their names alone."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def find(root, stills=False):
    """The paths of originals by how the names of their clips begin."""
    originals, left_out = list_originals([root], root / "out", stills)
    return {original.key: original.label for original in originals}, left_out


def test_videos_are_told_by_what_is_in_them_and_the_rest_is_counted(driver, tmp_path):
    """A broken video is not left out: it is named later. Hidden files and the output do not count."""
    shutil.copy(driver, tmp_path / "a.mxf")
    shutil.copy(driver, tmp_path / "unnamed")
    frames = [Image.fromarray(PICTURE + step) for step in (0, 50, 100)]
    for name in ("moving.gif", "moving-too.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], duration=40)
    frames[0].save(tmp_path / "still.gif")
    write_image(tmp_path / "cover.jpg", PICTURE)
    for name in ("broken.mov", "notes.txt", "list.csv", ".hidden.txt", "out/prepared.json"):
        make(tmp_path, name)
        (tmp_path / name).write_text("1,2,3\n")
    found, left_out = find(tmp_path)
    assert list(found.values()) == ["a.mxf", "broken.mov", "moving.gif", "moving-too.png", "unnamed"]
    assert left_out == {"no video or picture": 2, "a still picture": 2}
    stills, left_out = find(tmp_path, stills=True)
    assert list(stills) == ["cover", "still"]
    assert left_out == {"no video or picture": 2, "a video": 5}


def test_identities_are_sub_folders_or_files(tmp_path):
    make(tmp_path, "alice/a.mp4", "alice/day#1/b.MOV", "talk.webm", "id7#part#2.avi", ".hidden/c.mp4")
    assert find(tmp_path)[0] == {
        "alice#a": "alice/a.mp4",
        "alice#day-1-b": "alice/day#1/b.MOV",
        "talk": "talk.webm",
        "id7#part-2": "id7#part#2.avi",
    }


def test_a_folder_of_pictures_is_a_video(tmp_path):
    (tmp_path / "dora").mkdir()
    for number in range(3):
        write_image(tmp_path / "dora" / f"{number}.png", PICTURE)
    assert find(tmp_path) == find(tmp_path / "dora") == ({"dora": "dora"}, {})


def test_two_of_one_name_are_refused_but_one_may_be_given_twice(tmp_path):
    make(tmp_path, "a.mp4", "a.mov")
    with pytest.raises(InputError, match="become a"):
        find(tmp_path)
    assert len(list_originals([tmp_path / "a.mp4", tmp_path / "a.mp4"], tmp_path / "out", False)[0]) == 1


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_inputs_without_videos_are_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=name):
        find(tmp_path / name)


def test_long_names_are_cut_and_stay_different(tmp_path):
    make(tmp_path, "a" + "é" * 110 + ".mp4", "b" + "é" * 110 + ".mp4")
    found, _ = find(tmp_path)
    assert len(found) == 2 and all(len(key.encode()) <= MAX_NAME_BYTES for key in found)
