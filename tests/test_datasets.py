"""Data sets: what is found on disk, what is read from it, and which pairs come out of it."""

import os
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from animask import datasets
from animask.config import MODEL_PRESETS, TrainConfig
from animask.datasets import Clip, Numbers, Pairs, cache, changes, clips, collate, opening, pairs, speed
from animask.errors import InputError
from animask.images import write_image
from animask.video import VideoWriter, probe

SIDE = 64
LENGTH = 6


def grey(number: int, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    """A flat frame whose level tells its number."""
    return np.full((height, width, 3), 20 + 30 * number, np.uint8)


def make_video(path: Path, count: int = LENGTH, size: tuple[int, int] = (SIDE, SIDE)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".avi":
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, size)
        for number in range(count):
            writer.write(grey(number, size[1], size[0]))
        writer.release()
        return path
    with VideoWriter(path, Fraction(25), size) as video:
        for number in range(count):
            video.write(grey(number, size[1], size[0]))
    return path


def make_strip(path: Path, count: int = LENGTH) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.hstack([grey(number) for number in range(count)]))
    return path


def make_folder(path: Path, count: int = LENGTH) -> Path:
    """Frames named 7.png, 8.png, ..., 12.png: natural order is not that of the letters."""
    path.mkdir(parents=True)
    for number in range(count):
        write_image(path / f"{number + 7}.png", grey(number))
    return path


def levels(frames: Iterator[np.ndarray]) -> list[int]:
    return [round((float(frame.mean()) - 20) / 30) for frame in frames]


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"no video")
    return path


def names(found: list[Clip]) -> list[str]:
    return [clip.path.name for clip in found]


class Script:
    """A generator that draws what it is told."""

    def __init__(self, *draws: float) -> None:
        self.draws = list(draws)

    def random(self) -> float:
        return self.draws.pop(0)


# where a data set is


def test_the_named_folder_comes_first_then_the_environment_then_the_name(tmp_path, monkeypatch):
    for name in ("given", "root/vox", "vox"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANIMASK_DATA", raising=False)
    assert clips.locate("vox", None) == Path("vox")
    monkeypatch.setenv("ANIMASK_DATA", str(tmp_path / "root"))
    assert clips.locate("vox", None) == tmp_path / "root/vox"
    assert clips.locate("vox", tmp_path / "given") == tmp_path / "given"


def test_missing_data_say_where_they_were_looked_for_and_how_to_make_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANIMASK_DATA", str(tmp_path / "root"))
    with pytest.raises(InputError) as caught:
        clips.locate("taichi", None)
    assert str(tmp_path / "root/taichi") in caught.value.message
    assert str(tmp_path / "taichi") in caught.value.message
    assert "animask prepare" in caught.value.hint
    with pytest.raises(InputError, match=r"looked for .*/elsewhere$"):
        clips.locate("taichi", Path("elsewhere"))


# what is in it


def test_identity_is_the_name_before_the_first_hash_or_the_file(tmp_path):
    for name in ("id1#a#0#9.mp4", "id1#b#0#9.mp4", "id2#a#0#9.mp4", "plain.gif"):
        touch(tmp_path / "train" / name)
    found = clips.list_clips(tmp_path, "train")
    assert [clip.identity for clip in found] == ["id1", "id1", "id2", "plain.gif"]
    found = clips.list_clips(tmp_path, "train", "file")
    assert [clip.identity for clip in found] == names(found)


def test_only_clips_are_listed(tmp_path):
    for name in ("a.mp4", "b.GIF", "c.avi", "d.mov", "e.webm", "f.png", "g.jpg", "h.jpeg"):
        touch(tmp_path / "train" / name)
    for name in ("faces.csv", ".hidden.mp4", "notes.txt", "empty/readme.txt", "hidden/.x.png"):
        touch(tmp_path / "train" / name)
    touch(tmp_path / "train/frames/0.webp")
    wanted = ["a.mp4", "b.GIF", "c.avi", "d.mov", "e.webm", "f.png", "frames", "g.jpg", "h.jpeg"]
    assert names(clips.list_clips(tmp_path, "train")) == wanted


def test_train_and_test_folders_are_the_splits(tmp_path):
    touch(tmp_path / "train/a.mp4")
    touch(tmp_path / "test/b.mp4")
    touch(tmp_path / "c.mp4")
    assert names(clips.list_clips(tmp_path, "train")) == ["a.mp4"]
    assert names(clips.list_clips(tmp_path, "test")) == ["b.mp4"]


def test_a_train_folder_of_strips_alone_is_no_clip_itself(tmp_path):
    touch(tmp_path / "train/a.png")
    touch(tmp_path / "more/b.png")
    with pytest.raises(InputError, match=f"^no clips in {tmp_path / 'test'}$"):
        clips.list_clips(tmp_path, "test")


def test_without_folders_a_seeded_tenth_of_the_identities_is_for_testing(tmp_path):
    for number in range(30):
        for take in "ab":
            touch(tmp_path / f"id{number:02}#{take}.mp4")
    train, test = (clips.list_clips(tmp_path, split) for split in ("train", "test"))
    assert len({clip.identity for clip in test}) == 3
    assert not {clip.identity for clip in train} & {clip.identity for clip in test}
    assert len(train) + len(test) == 60
    assert clips.list_clips(tmp_path, "test") == test
    assert clips.list_clips(tmp_path, "test", seed=1) != test


def test_one_identity_alone_is_for_training(tmp_path):
    touch(tmp_path / "me#1.mp4")
    touch(tmp_path / "me#2.mp4")
    assert len(clips.list_clips(tmp_path, "train")) == 2
    with pytest.raises(InputError, match="no clips"):
        clips.list_clips(tmp_path, "test")


def test_first_clips_are_of_different_identities(tmp_path):
    listed = [Clip(Path(name), name[0]) for name in ("a1", "a2", "a3", "b1", "c1", "c2")]
    assert names(opening.spread(listed)) == ["a1", "b1", "c1", "a2", "c2", "a3"]


# frames


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".avi", ".mov", ".webm"])
def test_videos_are_read(suffix, tmp_path):
    frames = list(clips.read_clip(make_video(tmp_path / f"x{suffix}"), 32))
    assert levels(frames) == list(range(LENGTH))
    assert {(frame.shape, frame.dtype) for frame in frames} == {((32, 32, 3), np.dtype(np.uint8))}


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_strips_are_cut_into_squares(suffix, tmp_path):
    assert levels(clips.read_clip(make_strip(tmp_path / f"x{suffix}"), SIDE)) == list(range(LENGTH))


def test_folders_are_read_in_natural_order(tmp_path):
    assert levels(clips.read_clip(make_folder(tmp_path / "x"), SIDE)) == list(range(LENGTH))


def test_a_strip_that_does_not_divide_is_refused(tmp_path):
    write_image(tmp_path / "x.png", np.zeros((64, 100, 3), np.uint8))
    with pytest.raises(InputError, match="not a strip of square frames: 100×64"):
        next(clips.read_clip(tmp_path / "x.png", SIDE))


def test_frames_that_are_not_square_are_cropped_about_their_centre(tmp_path):
    frame = np.zeros((40, 80, 3), np.uint8)
    frame[:, 20:60] = 200
    (tmp_path / "x").mkdir()
    write_image(tmp_path / "x/0.png", frame)
    (read,) = clips.read_clip(tmp_path / "x", 40)
    assert (read == 200).all()


# the cache


@pytest.mark.parametrize(("count", "limit"), [(3, 8), (8, 8), (9, 8), (16, 8), (100, 8), (1000, 7)])
def test_thinned_frames_are_evenly_spread(count, limit):
    kept = [int(frame[0]) for frame in cache.thin(iter(np.arange(count)[:, None]), limit)]
    assert len(kept) == min(count, limit)
    gaps = np.diff(kept)
    assert kept[0] == 0
    assert 0 < gaps.min() <= gaps.max() <= (2 * gaps.min() if count > limit else 1)
    assert 0 < count - kept[-1] <= gaps.max(), "up to the end"


def test_thinning_by_hand():
    # full at 4 of 0..3, halved to 0 2, then 4 6; full again, halved to 0 4, then 8: of these three, first and last
    assert [int(x[0]) for x in cache.thin(iter(np.arange(10)[:, None]), 2)] == [0, 8]


def test_a_clip_is_decoded_once(tmp_path, monkeypatch):
    clip = Clip(make_strip(tmp_path / "x.png"), "x")
    path = cache.cached(clip, 32, tmp_path / "cache")
    assert np.load(path).shape == (LENGTH, 32, 32, 3)
    assert cache.cached(clip, 48, tmp_path / "cache") != path
    monkeypatch.setattr(cache, "read_clip", lambda *_: pytest.fail("decoded again"))
    assert cache.cached(clip, 32, tmp_path / "cache") == path


def test_a_changed_clip_is_decoded_anew(tmp_path):
    clip = Clip(make_strip(tmp_path / "x.png"), "x")
    first = cache.cached(clip, 32, tmp_path / "cache")
    make_strip(clip.path, 4)
    os.utime(clip.path, ns=(0, 1))
    assert len(np.load(cache.cached(clip, 32, tmp_path / "cache"))) == 4
    assert first.exists()


def test_a_changed_picture_changes_its_folder(tmp_path):
    folder = make_folder(tmp_path / "x")
    before = cache.stamp(folder)
    (folder / "9.png").write_bytes((folder / "8.png").read_bytes())
    os.utime(folder / "9.png", ns=(0, 2**62))
    assert cache.stamp(folder) != before


def test_a_cut_cache_file_is_made_again(tmp_path):
    clip = Clip(make_strip(tmp_path / "x.png"), "x")
    path = cache.cached(clip, 32, tmp_path / "cache")
    whole = path.read_bytes()
    for length in (0, 50, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert cache.cached(clip, 32, tmp_path / "cache") == path
        assert path.read_bytes() == whole


def test_long_clips_are_thinned(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "FRAMES_PER_CLIP", 3)
    path = cache.cached(Clip(make_strip(tmp_path / "x.png"), "x"), SIDE, tmp_path)
    assert levels(np.load(path)) == [0, 2, 4]


def test_broken_clips_are_skipped_once_with_their_names_and_counted(tmp_path):
    good = [make_strip(tmp_path / "a#1.png"), make_video(tmp_path / "a#2.mp4"), make_strip(tmp_path / "b#1.png")]
    whole = make_video(tmp_path / "whole.mp4").read_bytes()
    touch(tmp_path / "broken.mp4")
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.mp4").touch()
    make_strip(tmp_path / "single.png", 1)
    bad = [tmp_path / name for name in ("broken.mp4", "cut.mp4", "empty.mp4", "single.png", "gone.mp4")]
    listed = [Clip(path, path.name.split("#")[0]) for path in (*good, *bad)]
    words: list[str] = []
    found = cache.fill_cache(listed, 32, tmp_path / "cache", 2, words.append)
    assert {name: len(files) for name, files in found.items()} == {"a": 2, "b": 1}
    assert [word.split(":")[0] for word in words[:-1]] == [f"skipped {path.name}" for path in bad]
    assert words[-1] == "5 of 8 clips could not be read and are left out"
    assert len(list((tmp_path / "cache").iterdir())) == 3, "and nothing half-written is left"


def test_all_clips_broken_is_an_error(tmp_path):
    broken = [Clip(touch(tmp_path / f"{i}.mp4"), str(i)) for i in range(3)]
    with pytest.raises(InputError, match="none of the clips could be read"):
        cache.fill_cache(broken, 32, tmp_path / "cache", 1, lambda _: None)


def test_an_interruption_does_not_wait_for_what_has_not_begun():
    begun: list[int] = []
    results = cache.in_threads(begun.append, range(1000), 1)
    next(results)
    with pytest.raises(KeyboardInterrupt):
        results.throw(KeyboardInterrupt)
    count = len(begun)
    assert count < 1000
    assert len(begun) == count


def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("ANIMASK_CACHE", str(tmp_path))
    assert cache.cache_folder() == tmp_path
    monkeypatch.delenv("ANIMASK_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / "animask"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / ".cache/animask"


# pairs


@pytest.fixture
def numbered(tmp_path: Path) -> dict[str, list[Path]]:
    """Three identities with two clips each; a frame's first pixel is (clip, frame, 0)."""
    found = {}
    for identity in range(3):
        files = []
        for take in range(2):
            frames = np.zeros((9, 8, 8, 3), np.uint8)
            frames[..., 0] = 2 * identity + take
            frames[..., 1] = np.arange(9)[:, None, None]
            cache.save_array(tmp_path / f"{identity}{take}.npy", frames)
            files.append(tmp_path / f"{identity}{take}.npy")
        found[f"id{identity}"] = files
    return found


def places(sample: tuple[np.ndarray, ...]) -> list[tuple[int, int]]:
    """(clip, frame) of each image of a sample."""
    return [(int(x[0, 0, 0]), int(x[0, 0, 1])) for x in sample]


def test_every_identity_has_its_turn_as_often_as_it_repeats(numbered):
    stream = Pairs(8, numbered, repeats=5)
    assert len(stream) == 15
    epochs = [[places(stream[number])[0][0] // 2 for number in range(15 * e, 15 * e + 15)] for e in range(3)]
    assert [Counter(epoch) for epoch in epochs] == [Counter({0: 5, 1: 5, 2: 5})] * 3
    assert epochs[0] != epochs[1]
    assert {places(stream[number])[0][0] for number in range(60)} == set(range(6)), "any clip of an identity"


def test_a_pair_is_two_frames_of_one_clip(numbered):
    stream = Pairs(8, numbered)
    drawn = [places(stream[number]) for number in range(200)]
    assert all(s[0] == d[0] and s[1] != d[1] and d == target for s, d, target in drawn)
    assert {s[1] for s, _, _ in drawn} == {d[1] for _, d, _ in drawn} == set(range(9))


@pytest.mark.parametrize(("far", "least"), [(0.0, 1), (0.25, 2), (0.4, 4), (0.5, 4)])
def test_far_frames_are_apart(far, least, numbered):
    stream = Pairs(8, numbered, far=far)
    apart = [abs(s[1] - d[1]) for s, d, _ in (places(stream[number]) for number in range(150))]
    assert min(apart) == least


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_short_clips_have_frames_that_are_far_enough(count, tmp_path):
    cache.save_array(tmp_path / "x.npy", np.zeros((count, 8, 8, 3), np.uint8))
    stream = Pairs(8, {"x": [tmp_path / "x.npy"]}, far=0.5)
    assert all(len(stream[number]) == 3 for number in range(20))


def test_a_sample_is_a_function_of_seed_and_number(numbered):
    streams = [Pairs(8, numbered, flips="mirror", shift=0.1, degrade=0.5, seed=seed) for seed in (3, 3, 4)]
    drawn = [[np.stack(stream[number]) for number in (5, 0, 123456789)] for stream in streams]
    assert all(np.array_equal(a, b) for a, b in zip(drawn[0], drawn[1], strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(drawn[0], drawn[2], strict=True))


def test_shares_of_toons_and_stills(numbered, tmp_path):
    toon, picture = np.full((6, 8, 8, 3), 100, np.uint8), np.full((8, 8, 3), 200, np.uint8)
    cache.save_array(tmp_path / "toon.npy", toon)
    stream = Pairs(8, numbered, (picture,), (tmp_path / "toon.npy",), toons=0.5, stills=0.2)
    kinds = Counter(min(places(stream[number])[0][0] // 100, 2) for number in range(400))
    assert abs(kinds[1] - 200) < 40
    assert abs(kinds[2] - 80) < 30


def test_without_clips_all_samples_are_toons_of_the_training_range(monkeypatch):
    seen: list[int] = []
    monkeypatch.setattr(pairs, "sample_identity", lambda seed: seen.append(seed))
    monkeypatch.setattr(pairs, "sample_pose", lambda rng: rng.integers(256))
    monkeypatch.setattr(pairs, "render", lambda identity, pose, size: np.full((size, size, 3), pose, np.uint8))
    train, test = datasets.open_pairs("toons", MODEL_PRESETS["tiny"], TrainConfig(repeats=7), lambda _: None)
    assert len(train) == 7
    first, second, _ = train[3]
    assert first.shape == (64, 64, 3)
    assert not np.array_equal(first, second)
    held_out = [test[number] for number in range(20)]
    limit = datasets.TOON_IDENTITIES
    assert limit <= seen[0] < 2 * limit
    assert len(held_out) == 20
    assert len({*seen[1:]}) == 20
    assert max(seen[1:]) < limit


def test_a_pool_of_toons_is_rendered_once(tmp_path, monkeypatch):
    pool = cache.toon_pool(2, 32, tmp_path, 1)
    contents = [np.load(path) for path in pool]
    assert [x.shape for x in contents] == [(cache.POSES_PER_TOON, 32, 32, 3)] * 2
    assert len({x.tobytes() for frames in contents for x in frames}) == 2 * cache.POSES_PER_TOON
    stream = Pairs(32, {}, pool=pool, toons=1.0)
    own = [{x.tobytes() for x in frames} for frames in contents]
    for number in range(10):
        s, d, _ = (x.tobytes() for x in stream[number])
        assert s != d
        assert any({s, d} <= frames for frames in own), "both of one identity"
    monkeypatch.setattr(cache, "render", lambda *_: pytest.fail("rendered again"))
    assert cache.toon_pool(2, 32, tmp_path, 1) == pool


def test_a_troupe_shares_its_poses(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "sample_pose", lambda rng: rng.integers(256))
    monkeypatch.setattr(cache, "sample_identity", lambda seed: seed - cache.TOON_IDENTITIES)
    monkeypatch.setattr(cache, "render", lambda who, pose, size: np.full((size, size, 3), (who, pose, 0), np.uint8))
    pool = [places(np.load(path)) for path in cache.toon_pool(cache.TROUPE + 2, 8, tmp_path, 1)]
    assert [toon[0][0] for toon in pool] == list(range(cache.TROUPE + 2))
    poses = [tuple(pose for _, pose in toon) for toon in pool]
    assert [len(set(troupe)) for troupe in (poses[: cache.TROUPE], poses[cache.TROUPE :])] == [1, 1]
    assert poses[0] != poses[-1]


# toons driven by another toon in the target's pose


@pytest.fixture
def pool(tmp_path: Path) -> tuple[Path, ...]:
    """A whole troupe of toons and one of two; a frame's first pixel is (toon, pose, 1)."""
    paths = []
    for toon in range(cache.TROUPE + 2):
        frames = np.ones((cache.POSES_PER_TOON, 8, 8, 3), np.uint8)
        frames[..., 0] = toon
        frames[..., 1] = np.arange(cache.POSES_PER_TOON)[:, None, None]
        cache.save_array(tmp_path / f"toon{toon}.npy", frames)
        paths.append(tmp_path / f"toon{toon}.npy")
    return tuple(paths)


def test_another_of_the_troupe_is_in_the_pose_of_the_target(pool):
    stream = Pairs(8, {}, pool=pool, toons=1.0, cross=1.0)
    drawn = [places(stream[number]) for number in range(300)]
    for s, d, target, other in drawn:
        assert s[0] == d[0] != other[0]
        assert s[1] != d[1] == other[1]
        assert d == target
        assert s[0] // cache.TROUPE == other[0] // cache.TROUPE
    assert {other[0] for *_, other in drawn} == set(range(len(pool)))
    alone = Pairs(8, {}, pool=pool[:-1], toons=1.0, cross=1.0)
    kinds = {(len(sample), sample[0][0] == cache.TROUPE) for sample in (places(alone[n]) for n in range(200))}
    assert kinds == {(4, False), (3, True)}, "a troupe of one has no other"


def test_without_a_pool_the_other_is_rendered(monkeypatch):
    monkeypatch.setattr(pairs, "sample_identity", lambda seed: seed % 251)
    monkeypatch.setattr(pairs, "sample_pose", lambda rng: rng.integers(256))
    monkeypatch.setattr(pairs, "render", lambda who, pose, size: np.full((size, size, 3), (who, pose, 0), np.uint8))
    stream = Pairs(8, {}, cross=1.0)
    drawn = [places(stream[number]) for number in range(50)]
    assert all(s[0] == d[0] and d == target and other[1] == d[1] for s, d, target, other in drawn)
    assert sum(other[0] != s[0] and s[1] != d[1] for s, d, _, other in drawn) > 45


def test_cross_is_a_share_of_the_toons_alone(numbered, pool):
    picture = np.full((8, 8, 3), 200, np.uint8)
    stream = Pairs(8, numbered, (picture,), pool, toons=0.5, stills=0.2, cross=0.6)
    drawn = [stream[number] for number in range(400)]
    crossed = [sample for sample in drawn if len(sample) == 4]
    assert abs(len(crossed) - 120) < 30
    assert {len(sample) for sample in drawn} == {3, 4}
    assert {int(x[0, 0, 2]) for sample in crossed for x in sample} == {1}, "no clip, no still"


@pytest.mark.parametrize("flips", ["mirror", "time-or-mirror"])
def test_flips_keep_the_other_with_the_target(flips, pool):
    stream = Pairs(8, {}, pool=pool, cross=1.0, flips=flips)
    drawn = [places(stream[number]) for number in range(60)]
    assert all(s[0] == d[0] != other[0] and other[1] == d[1] for s, d, _, other in drawn)


def test_the_other_is_moved_as_the_target_is_but_not_degraded(tmp_path):
    image = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8), (64, 64))
    for toon in range(2):
        cache.save_array(tmp_path / f"{toon}.npy", np.stack([image] * cache.POSES_PER_TOON))
    pool = tuple(tmp_path / f"{toon}.npy" for toon in range(2))
    s, d, target, other = Pairs(64, {}, pool=pool, cross=1.0, shift=0.1, degrade=1.0, flips="mirror")[1]
    assert np.array_equal(other, target)
    assert not np.array_equal(d, target)
    assert np.abs(s.astype(int) - target).mean() > 1, "the source has its own draw"


# changes


def test_flips_by_hand():
    s, d = np.arange(12, dtype=np.uint8).reshape(1, 4, 3), np.full((1, 4, 3), 99, np.uint8)

    def flipped(how: str, *draws: float) -> str:
        a, b = changes.flip((s, d), how, Script(*draws))
        kinds = {s.tobytes(): "s", d.tobytes(): "d", s[:, ::-1].tobytes(): "mirrored s"}
        return f"{kinds[a.tobytes()]}, {kinds[b.tobytes()]}"

    assert flipped("none") == "s, d"
    assert flipped("mirror", 0.4) == "mirrored s, d"
    assert flipped("mirror", 0.6) == "s, d"
    assert flipped("time-or-mirror", 0.4) == "d, s"
    assert flipped("time-or-mirror", 0.6, 0.4) == "mirrored s, d"
    assert flipped("time-or-mirror", 0.6, 0.6) == "s, d"
    assert changes.flip((s, d, s), "time-or-mirror", Script(0.4)) == (s, d, s), "which of the three would be first?"
    mirrored = changes.flip((s, d, s), "time-or-mirror", Script(0.6, 0.4))
    assert [np.array_equal(x, y[:, ::-1]) for x, y in zip(mirrored, (s, d, s), strict=True)] == [True] * 3


def test_only_the_driver_is_degraded_and_keeps_its_colours(numbered):
    stream = Pairs(8, numbered, degrade=1.0)
    assert all(not np.shares_memory(d, target) for _, d, target in (stream[n] for n in range(5)))
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 256, (24, 24, 3), np.uint8), (256, 256))
    worse = [changes.degrade(image[:, ::-1], 1.0, rng)[:, ::-1] for _ in range(20)]
    off = [float(np.abs(x.astype(int) - image).mean()) for x in worse]
    assert np.median(off) > 0.5
    assert max(off) < 8
    assert len({x.tobytes() for x in worse}) > 10
    assert np.abs(np.mean(worse, axis=(0, 1, 2)) - image.mean((0, 1))).max() < 1
    assert changes.degrade(image, 0.0, rng) is image


def test_a_movement_stays_within_its_amount():
    image = np.zeros((100, 100, 3), np.uint8)
    image[48:52, 48:52] = 255
    rng = np.random.default_rng(0)
    centres = []
    for _ in range(60):
        moved = changes.move((image,), 0.1, rng)[0][..., 0].astype(float)
        centres.append([(moved.sum(axis) * np.arange(100)).sum() / moved.sum() for axis in (0, 1)])
    offsets = np.abs(np.array(centres) - 49.5)
    assert 8 < offsets.max() < 10.6
    assert np.array_equal(changes.move((image,), 0.0, rng)[0], image)
    first, second = changes.move((image, image), 0.1, rng)
    assert np.array_equal(first, second)


def test_a_still_moves_twice_and_differently(numbered):
    picture = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8), (64, 64))
    s, d, target = Pairs(64, numbered, (picture,), stills=1.0)[0]
    assert np.array_equal(d, target)
    differences = [float(np.abs(a.astype(int) - b).mean()) for a, b in ((s, d), (s, picture), (d, picture))]
    assert min(differences) > 3
    flat = np.full((64, 64, 3), 77, np.uint8)
    assert (changes.warp(flat, np.random.default_rng(1)) == 77).all(), "no black borders"


# batches


def test_numbers_are_shared_out_and_resume():
    def first(count: int, *arguments: int) -> list[int]:
        return [number for number, _ in zip(Numbers(*arguments), range(count), strict=False)]

    assert first(5, 0) == [0, 1, 2, 3, 4]
    assert first(3, 8, 0, 2) == [8, 10, 12]
    assert first(3, 8, 1, 2) == [9, 11, 13]


def test_a_batch_is_channels_last_and_keeps_its_columns():
    samples = [tuple(np.full((4, 4, 3), 10 * i + j, np.uint8) for j in range(3)) for i in range(2)]
    samples[1][2][1, 2] = (7, 8, 9)
    batch = collate(samples)
    assert batch.other is None
    assert [x.shape for x in batch[:3]] == [(2, 3, 4, 4)] * 3
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in batch[:3])
    assert batch.d[:, 0, 0, 0].tolist() == [1, 11]
    assert batch.target[1, :, 1, 2].tolist() == [7, 8, 9]


def test_samples_with_another_identity_come_last_in_a_batch():
    samples = [tuple(np.full((4, 4, 3), 10 * i + j, np.uint8) for j in range(3 + i % 2)) for i in range(4)]
    batch = collate(samples)
    assert batch.s[:, 0, 0, 0].tolist() == [0, 20, 10, 30]
    assert batch.d[:, 0, 0, 0].tolist() == [1, 21, 11, 31]
    assert batch.target[:, 0, 0, 0].tolist() == [2, 22, 12, 32]
    assert batch.other is not None
    assert batch.other[:, 0, 0, 0].tolist() == [13, 33]
    assert batch.other.is_contiguous(memory_format=torch.channels_last)


# opening


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two people with two clips each for training, one for testing."""
    monkeypatch.setenv("ANIMASK_CACHE", str(tmp_path / "cache"))
    for name in ("train/a#1", "train/a#2", "train/b#1", "train/b#2", "test/c#1"):
        make_strip(tmp_path / "data" / f"{name}.png")
    return tmp_path / "data"


def test_settings_reach_the_stream(dataset):
    config = TrainConfig(
        data=str(dataset), repeats=4, far=0.2, flips="mirror", shift=0.1, degrade=0.3, seed=5, limit_videos=3, cross=0.4
    )
    words: list[str] = []
    train, test = datasets.open_pairs("vox", MODEL_PRESETS["tiny"], config, words.append)
    assert len(train) == 8
    assert {name: len(files) for name, files in train.clips.items()} == {"a": 2, "b": 1}
    found = (train.far, train.flips, train.shift, train.degrade, train.cross, train.seed)
    assert found == (0.2, "mirror", 0.1, 0.3, 0.4, 5)
    assert test.cross == 0, "held-out pairs are plain"
    assert list(test.clips) == ["c"]
    assert (test.far, test.flips, test.shift, test.degrade) == (0.2, "none", 0.0, 0.0)
    assert words[0].startswith(f"3 training clips in {dataset}")


def test_identities_may_be_files(dataset):
    config = TrainConfig(data=str(dataset), identities="file")
    train, _ = datasets.open_pairs("bair", MODEL_PRESETS["tiny"], config, lambda _: None)
    assert list(train.clips) == ["a#1.png", "a#2.png", "b#1.png", "b#2.png"]
    assert len(train) == 4


def test_without_a_test_split_the_figures_are_of_training_clips(dataset):
    (dataset / "test/c#1.png").unlink()
    words: list[str] = []
    train, test = datasets.open_pairs(
        "vox", MODEL_PRESETS["tiny"], TrainConfig(data=str(dataset)), lambda text: words.append(text)
    )
    assert test.clips == train.clips
    assert words[-1] == "no test split that can be read: held-out figures are of training clips"


def test_pictures_are_read_and_broken_ones_named(tmp_path):
    write_image(tmp_path / "a.png", grey(3, 40, 80))
    touch(tmp_path / "b.png")
    write_image(tmp_path / "c.jpg", grey(5))
    words: list[str] = []
    pictures = opening.read_pictures(str(tmp_path), 32, words.append)
    assert levels(pictures) == [3, 5]
    assert {picture.shape for picture in pictures} == {(32, 32, 3)}
    assert [word.split(":")[0] for word in words] == ["skipped b.png"]


def test_stills_without_pictures_are_refused(tmp_path):
    with pytest.raises(InputError, match="no pictures in"):
        opening.read_pictures(str(tmp_path), 32, lambda _: None)
    with pytest.raises(InputError, match="needs a folder") as caught:
        opening.read_pictures("", 32, lambda _: None)
    assert "stills_dir" in caught.value.hint


# how fast


@pytest.mark.parametrize("cost", [0.01, 0.5])
def test_pairs_a_second_of_processor_time_by_hand(cost, monkeypatch):
    """Costs alone count; the first pair, which fills caches, does not."""
    now = [100.0]
    made: list[int] = []

    def make(number: int) -> None:
        made.append(number)
        now[0] += cost * (100 if number == 0 else 1)

    monkeypatch.setattr(speed, "processor_seconds", lambda: now[0])
    assert speed.pairs_per_second(make, 1.0) == pytest.approx(1 / cost)
    assert len(made) - 1 == pytest.approx(max(speed.FEWEST, 1 / cost), abs=1)


def test_decoding_gives_two_different_frames_of_the_clip(tmp_path):
    info = probe(make_video(tmp_path / "x.mp4", 8, (96, SIDE)))
    drawn = [levels(speed.decode_pair(info, 32, np.random.default_rng(seed))) for seed in range(12)]
    assert len({level for pair in drawn for level in pair}) > LENGTH / 2
    assert any(first != second for first, second in drawn)


def test_the_data_side_is_measured_whole(tmp_path):
    found = datasets.measure_data(make_video(tmp_path / "x.mp4"), 32, 0.02)
    assert found.resolution == 32
    assert found.cache > 10 * found.decoding > 0
    assert found.toons > 0
    with pytest.raises(InputError, match="too short"):
        datasets.measure_data(tmp_path / "x.mp4", 32, 0.0)
    with pytest.raises(InputError):
        datasets.measure_data(touch(tmp_path / "y.mp4"), 32, 0.1)
