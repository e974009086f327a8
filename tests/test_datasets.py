"""Data sets: what is found on disk, what is read from it, and what the cache keeps of it."""

import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from conftest import touch

from animask import datasets
from animask.clay import clay_path
from animask.datasets import Clip
from animask.errors import AnimaskError, InputError
from animask.images import write_image
from animask.video import write_video

SIDE = 64
LENGTH = 6


def grey(number: int, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    """A flat frame whose level tells its number."""
    return np.full((height, width, 3), 20 + 30 * number, np.uint8)


def make_video(path: Path, count: int = LENGTH) -> Path:
    write_video(path, map(grey, range(count)), Fraction(25))
    return path


def make_strip(path: Path, count: int = LENGTH) -> Path:
    write_image(path, np.hstack([grey(number) for number in range(count)]))
    return path


def make_folder(path: Path, count: int = LENGTH) -> Path:
    """Frames named 7.png, 8.png, ..., 12.png: natural order is not that of the letters."""
    path.mkdir()
    for number in range(count):
        write_image(path / f"{number + 7}.png", grey(number))
    return path


def levels(frames: Iterator[np.ndarray]) -> list[int]:
    return [round((float(frame.mean()) - 20) / 30) for frame in frames]


def test_the_named_folder_comes_first_then_the_environment_then_the_name(tmp_path, monkeypatch):
    for name in ("given", "root/vox", "vox"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANIMASK_DATA", raising=False)
    assert datasets.locate("vox", None) == Path("vox")
    monkeypatch.setenv("ANIMASK_DATA", str(tmp_path / "root"))
    assert datasets.locate("vox", None) == tmp_path / "root/vox"
    assert datasets.locate("vox", tmp_path / "given") == tmp_path / "given"


def test_identity_is_the_name_before_the_first_hash_or_the_file(tmp_path):
    names = ["id1#a#0#9.mp4", "id1#b#0#9.mp4", "id2#a#0#9.mp4", "plain.gif"]
    touch(tmp_path / "train", *names)
    for settings, identities in (((), ["id1", "id1", "id2", "plain.gif"]), (("file",), names)):
        assert [clip.identity for clip in datasets.list_clips(tmp_path, "train", *settings)] == identities


def test_train_and_test_folders_are_the_splits_and_only_clips_in_them_are_listed(tmp_path):
    wanted = ["a.mp4", "b.GIF", "c.avi", "d.mov", "e.webm", "f.png", "frames", "g.jpg", "h.jpeg"]
    others = ["faces.csv", ".hidden.mp4", "a.clay.npz", "empty/readme.txt", "hidden/.x.png", "frames/0.webp"]
    touch(tmp_path / "train", *({*wanted, *others} - {"frames"}))
    touch(tmp_path, "test/z.mp4", "y.mp4")
    assert [clip.path.name for clip in datasets.list_clips(tmp_path, "train")] == wanted
    assert [clip.path.name for clip in datasets.list_clips(tmp_path, "test")] == ["z.mp4"]


def test_without_folders_a_tenth_of_the_identities_is_for_testing(tmp_path):
    touch(tmp_path, *(f"id{number:02}#{take}.mp4" for number in range(30) for take in "ab"))
    train, test = (datasets.list_clips(tmp_path, split) for split in ("train", "test"))
    trained, tested = ({clip.identity for clip in clips} for clips in (train, test))
    assert len(tested) == 3 and not trained & tested and len(train) + len(test) == 60
    assert datasets.list_clips(tmp_path, "test") == test


@pytest.mark.parametrize(("make", "name"), [(make_video, "x.mp4"), (make_strip, "x.jpg"), (make_folder, "x")])
def test_videos_strips_and_folders_are_read(make: Callable[[Path], Path], name, tmp_path):
    frames = list(datasets.read_clip(make(tmp_path / name), 32))
    assert levels(frames) == list(range(LENGTH))
    assert {(frame.shape, frame.dtype) for frame in frames} == {((32, 32, 3), np.dtype(np.uint8))}


def test_frames_that_are_not_square_are_cropped_about_their_centre_but_not_strips(tmp_path):
    frame = np.zeros((64, 100, 3), np.uint8)
    frame[:, 18:82] = 200
    (tmp_path / "x").mkdir()
    write_image(tmp_path / "x/0.png", frame)
    (read,) = datasets.read_clip(tmp_path / "x", 64)
    assert (read == 200).all()
    with pytest.raises(InputError, match="100×64"):
        next(datasets.read_clip(tmp_path / "x/0.png", 64))


# the cache


def test_a_clip_is_decoded_once_until_it_or_its_cache_changes(tmp_path):
    clip, cache = Clip(make_strip(tmp_path / "x.png"), "x"), tmp_path / "cache"
    path = datasets.cached(clip, 32, cache)
    whole, made = path.read_bytes(), path.stat().st_mtime_ns
    assert np.load(path).shape == (LENGTH, 32 * 32 * 3)
    assert datasets.cached(clip, 32, cache) == path and path.stat().st_mtime_ns == made
    assert datasets.cached(clip, 48, cache) != path
    for length in (0, 50, len(whole) - 1):  # a full disk may have cut it
        path.write_bytes(whole[:length])
        assert datasets.cached(clip, 32, cache) == path
        assert path.read_bytes() == whole
    make_strip(clip.path, 4)
    os.utime(clip.path, ns=(0, 1))
    assert len(np.load(datasets.cached(clip, 32, cache))) == 4


def test_broken_clips_are_skipped_once_with_their_names_and_counted(tmp_path):
    good = [make_strip(tmp_path / "a#1.png"), make_video(tmp_path / "a#2.mp4"), make_strip(tmp_path / "b#1.png")]
    whole = make_video(tmp_path / "whole.mp4").read_bytes()
    touch(tmp_path, "broken.mp4")
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.mp4").touch()
    make_strip(tmp_path / "single.png", 1)
    bad = [tmp_path / name for name in ("broken.mp4", "cut.mp4", "empty.mp4", "single.png", "gone.mp4")]
    clips = [Clip(path, path.name.split("#")[0]) for path in [*good, *bad]]
    words: list[str] = []
    found = datasets.fill_cache(clips, 32, tmp_path / "cache", 2, words.append)
    assert {name: len(files) for name, files in found.items()} == {"a": 2, "b": 1}
    assert [word.split(":")[0] for word in words[:-1]] == [f"skipped {path.name}" for path in bad]
    assert words[-1].startswith("5 of 8 clips")
    assert len(list((tmp_path / "cache").iterdir())) == 3, "and nothing half-written is left"
    with pytest.raises(InputError):
        datasets.fill_cache(clips[3:], 32, tmp_path / "cache", 2, words.append)


def test_an_interruption_does_not_wait_for_what_has_not_begun():
    begun: list[int] = []
    results = datasets.in_threads(begun.append, range(1000), 1)
    next(results)
    with pytest.raises(KeyboardInterrupt):
        results.throw(KeyboardInterrupt)
    assert len(begun) < 1000


@pytest.mark.parametrize(
    ("variable", "below"), [("ANIMASK_CACHE", ""), ("XDG_CACHE_HOME", "animask"), ("HOME", ".cache/animask")]
)
def test_the_cache_is_where_the_environment_says(variable, below, tmp_path, monkeypatch):
    for name in ("ANIMASK_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    if variable != "HOME":  # there need be none, as in containers
        monkeypatch.setattr(Path, "home", lambda: pytest.fail("a home is looked for"))
    assert datasets.cache_folder() == tmp_path / below


def test_a_cache_that_cannot_be_written_is_one_sentence_that_names_the_variable(tmp_path):
    """No clip is blamed."""
    (tmp_path / "file").touch()
    with pytest.raises(AnimaskError) as caught:
        datasets.fill_cache([Clip(make_strip(tmp_path / "x.png"), "x")], 32, tmp_path / "file", 1, pytest.fail)
    assert "ANIMASK_CACHE" in caught.value.hint


# clay


def give_clay(path: Path, count: int = LENGTH, faceless: tuple[int, ...] = ()) -> Path:
    """Clay of a clip, whose level tells the frame; black where there is no face."""
    clay = np.stack([np.full((64, 64), 0 if i in faceless else 100 + i, np.uint8) for i in range(count)])
    np.savez(clay_path(path), clay=clay)
    return clay_path(path)


def test_frames_are_kept_with_their_clay_and_without_a_face_left_out(tmp_path, monkeypatch):
    plain = Clip(make_strip(tmp_path / "x.png"), "x")
    assert datasets.with_clay([plain]) == []
    give_clay(plain.path, faceless=(2, 3))
    (clip,) = datasets.with_clay([plain])
    rows = np.load(datasets.cached(clip, 32, tmp_path / "cache"))
    assert rows.shape == (4, 32 * 32 * 3 + 64 * 64)
    assert levels(iter(rows[:, :3072])) == [0, 1, 4, 5]
    assert rows[:, 3072].tolist() == [100, 101, 104, 105]
    give_clay(plain.path)
    os.utime(clip.clay, ns=(0, 1))
    assert len(np.load(datasets.cached(clip, 32, tmp_path / "cache"))) == LENGTH, "new clay, new rows"
    assert np.load(datasets.cached(plain, 32, tmp_path / "cache")).shape == (LENGTH, 3072)
    monkeypatch.setattr(datasets, "FRAMES_PER_CLIP", 3)
    assert np.load(datasets.cached(clip, 32, tmp_path / "cache"))[:, 3072].tolist() == [100, 102, 104], "thinned alike"


@pytest.mark.parametrize(("count", "faceless"), [(LENGTH, (1, 2, 3, 4, 5)), (LENGTH - 1, ())])
def test_clay_of_one_face_or_of_too_few_frames_is_refused(count, faceless, tmp_path):
    path = make_strip(tmp_path / "x.png")
    with pytest.raises(InputError):
        datasets.cached(Clip(path, "x", give_clay(path, count, faceless)), 32, tmp_path / "cache")


def test_a_troupe_of_toons_is_rendered_once_with_its_clay(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "POSES_PER_TOON", 2)
    pool = datasets.toon_pool(datasets.TOON_IDENTITIES, 3, 32, tmp_path, 1)
    rows = np.stack([np.load(path) for path in pool])
    assert rows.shape == (datasets.TROUPE, 2, 32 * 32 * 3 + 64 * 64)
    assert len({row.tobytes() for toon in rows for row in toon}) == 2 * datasets.TROUPE
    clay = rows[..., 3072:].reshape(-1, 64, 64)
    assert (clay[:, 0, 0] == 0).all() and (clay.max((1, 2)) > 150).all()
    monkeypatch.setattr(datasets, "render", lambda *_: pytest.fail("rendered again"))
    assert datasets.toon_pool(datasets.TOON_IDENTITIES, 3, 32, tmp_path, 1) == pool
