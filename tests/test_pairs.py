"""Which pairs come out of a data set, and what a step makes of a batch of them."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from training_cases import centre, disc, make_data, noise, seeded

from animask import pairs
from animask.clay import clay_path
from animask.config import MODEL_PRESETS, TrainConfig
from animask.datasets import TOON_IDENTITIES, TROUPE, pack, save_array, spread
from animask.errors import InputError
from animask.images import write_image
from animask.pairs import CLIP, STILL, TOON, Batch, Pairs, Sample, collate, flip, move, shake

SIDE = 8
TINY = MODEL_PRESETS["tiny"]


def rows(number: int, count: int, clay: bool = True) -> np.ndarray:
    """Frames whose first pixel is (number, frame, 0), with clay of that number."""
    frames = np.zeros((count, SIDE, SIDE, 3), np.uint8)
    frames[..., 0], frames[..., 1] = number, np.arange(count)[:, None, None]
    return pack(list(frames), list(np.full((count * clay, 64, 64), number, np.uint8)))


def places(sample: Sample) -> list[tuple[int, int]]:
    """(clip, frame) of each image of a sample."""
    return [(int(row[0]), int(row[1])) for row in sample.rows]


def keep(folder: Path, number: int, count: int) -> Path:
    save_array(folder / f"{number}.npy", rows(number, count))
    return folder / f"{number}.npy"


@pytest.fixture
def numbered(tmp_path):
    """Three identities with two clips each, of nine frames."""
    return {f"id{i}": [keep(tmp_path, 2 * i + take, 9) for take in range(2)] for i in range(3)}


@pytest.fixture
def pool(tmp_path):
    """Two troupes of toons, numbered from 100 on, in six poses."""
    return tuple(keep(tmp_path, 100 + i, 6) for i in range(2 * TROUPE))


# samples


def test_every_identity_has_its_turn_as_often_as_it_repeats(numbered):
    stream = Pairs(SIDE, TrainConfig(repeats=5), numbered)
    assert len(stream) == 15
    epochs = [[places(stream[number])[0][0] // 2 for number in range(15 * e, 15 * e + 15)] for e in range(3)]
    assert [Counter(epoch) for epoch in epochs] == [Counter({0: 5, 1: 5, 2: 5})] * 3
    assert epochs[0] != epochs[1]
    assert {places(stream[number])[0][0] for number in range(60)} == set(range(6)), "any clip of an identity"


@pytest.mark.parametrize(("masks", "least"), [("found", 1), ("taught", 2)])
def test_a_pair_is_two_frames_of_one_clip_which_are_apart(masks, least, numbered):
    """Where masks are taught, by a quarter of the clip: of nine frames, by two."""
    stream = Pairs(SIDE, TrainConfig(masks=masks), numbered)
    drawn = [places(stream[number]) for number in range(200)]
    assert all(s[0] == d[0] for s, d in drawn)
    assert min(abs(s[1] - d[1]) for s, d in drawn) == least
    assert {s[1] for s, _ in drawn} == set(range(9))


def test_a_sample_is_a_function_of_seed_and_number(numbered, pool):
    streams = [Pairs(SIDE, TrainConfig(masks="taught", toons=0.5, seed=k), numbered, pool=pool) for k in (3, 3, 4)]
    drawn = [[places(stream[number]) for number in (5, 0, 7, 123456789)] for stream in streams]
    assert drawn[0] == drawn[1] != drawn[2]


def test_shares_of_toons_and_stills(numbered, pool):
    stream = Pairs(SIDE, TrainConfig(toons=0.5, stills=0.2), numbered, tuple(rows(200, 1)), pool)
    samples = [stream[number] for number in range(400)]
    kinds = Counter(sample.kind for sample in samples)
    assert abs(kinds[TOON] - 200) < 40
    assert abs(kinds[STILL] - 80) < 30
    assert all({CLIP: 0, TOON: 1, STILL: 2}[x.kind] == places(x)[0][0] // 100 for x in samples)


def test_another_of_the_troupe_is_in_the_pose_of_the_target(pool):
    stream = Pairs(SIDE, TrainConfig(masks="taught"), {}, pool=pool)
    drawn = [places(stream[number]) for number in range(300)]
    for s, d, other in drawn:
        assert s[0] == d[0] != other[0]
        assert s[1] != d[1] == other[1]
        assert (s[0] - 100) // TROUPE == (other[0] - 100) // TROUPE
    assert {other[0] for *_, other in drawn} == set(range(100, 100 + 2 * TROUPE))
    assert len(Pairs(SIDE, TrainConfig(), {}, pool=pool)[0].rows) == 2, "where masks are found, nothing needs it"


# batches


def test_toons_come_first_in_a_batch_with_their_others_and_all_clay():
    clip, toon = rows(1, 2), rows(2, 2)
    samples = [Sample(CLIP, tuple(clip)), Sample(TOON, (*toon, rows(3, 2)[1])), Sample(CLIP, tuple(clip))]
    batch = collate(samples, SIDE, clay=True)
    assert batch.kinds.tolist() == [TOON, CLIP, CLIP]
    assert batch.s[:, 0, 0, 0].tolist() == batch.clay_s[:, 0, 0, 0].tolist() == [2, 1, 1]
    assert batch.target[:, 1, 0, 0].tolist() == [1, 1, 1]
    assert batch.other[:, 0, 0, 0].tolist() == batch.clay_o[:, 0, 0, 0].tolist() == [3]
    assert batch.s.is_contiguous(memory_format=torch.channels_last)
    assert collate(samples[:1], SIDE, clay=True).other.shape == (0, 3, SIDE, SIDE)


def test_found_masks_need_no_clay_and_the_papers_step_leaves_frames_as_they_are():
    samples = [Sample(CLIP, tuple(rows(1, 2, clay=False))), Sample(TOON, tuple(rows(2, 2)))]
    batch = collate(samples, SIDE, clay=False)
    assert batch.s[:, 0, 0, 0].tolist() == [2, 1]
    assert [len(x) for x in batch[3:]] == [0, 0, 0, 0]
    found = step(batch)
    assert torch.equal(found.s, batch.s / 255) and torch.equal(found.target, batch.target / 255)


def coarse(kind: int, count: int, clay: bool) -> Batch:
    """A batch of one kind: a coarse random picture, and clay that is bright where it is red."""
    small = (noise(count, 3, 8, 8) * 255).byte()
    frames, clays = (small.repeat_interleave(k, 2).repeat_interleave(k, 3) for k in (16, 8))
    clays = clays[:, :1] if clay else clays[:0, :1]
    return Batch(torch.full((count,), kind), frames, frames, frames[:0], clays, clays, clays[:0])


def step(batch: Batch, **changes) -> Batch:
    return shake(batch, TrainConfig(**changes), 32, seeded())


@pytest.mark.parametrize(
    ("kind", "clay", "flips", "share"),
    [
        (STILL, True, "none", 1.0),
        (STILL, False, "none", 1.0),
        (CLIP, True, "none", 0.4),
        (TOON, True, "none", 0),
        (TOON, True, "mirror", 0.5),
    ],
)
def test_pictures_and_clips_are_moved_and_all_are_flipped_with_their_clay(kind, clay, flips, share):
    batch = coarse(kind, 60, clay)
    found = step(batch, stills=0.5, flips=flips)
    moved = [(a - b).abs().mean() > 0.02 for a, b in zip(found.s, batch.s / 255, strict=True)]
    assert np.mean(moved) == pytest.approx(share, abs=0.15)
    apart = [(a - b).abs().mean() > 0.02 for a, b in zip(found.s, found.target, strict=True)]
    assert np.mean(apart) >= share * (kind != TOON), "two draws"
    if clay:
        red = torch.nn.functional.interpolate(found.s[:, :1], size=32, mode="area")
        assert (red - found.clay_s).abs().mean() < 0.03


# flips and movements, against answers known by hand


def test_mirrored_samples_are_mirrored_in_every_image_and_others_are_left():
    s = noise(64, 3, 4, 4)
    pair = flip([s, s + 1, s[:10] + 2], "mirror", seeded(1))
    chosen = [bool(torch.equal(x, y.flip(2))) for x, y in zip(pair[0], s, strict=True)]
    assert 20 < sum(chosen) < 44
    for i, mirrored in enumerate(chosen):
        wanted = s[i].flip(2) if mirrored else s[i]
        assert torch.equal(pair[0][i], wanted)
        assert torch.equal(pair[1][i], wanted + 1)
        assert i >= 10 or torch.equal(pair[2][i], wanted + 2)
    assert torch.equal(flip([s], "none", seeded())[0], s)


def test_time_runs_backwards_for_half_and_a_quarter_is_mirrored():
    s, target = torch.zeros(400, 1, 1, 2), torch.ones(400, 1, 1, 2)
    s[..., 1] = 0.5
    a, b = flip([s, target], "time-or-mirror", seeded())
    swapped = (a == 1).all(3).flatten()
    mirrored = (a[..., 0] == 0.5).flatten()
    assert 160 < swapped.sum() < 240
    assert 70 < mirrored.sum() < 130
    assert not (swapped & mirrored).any()
    assert (b[swapped] < 1).all()


def test_a_movement_stays_within_its_amount_and_none_leaves_the_image():
    images = disc(32, 32, 3).expand(200, -1, -1, -1).contiguous()
    still = torch.zeros(200)
    assert torch.allclose(move(images, still, still, seeded()), images, atol=1e-4)
    moved = move(images, still + 0.1, still, seeded())
    offsets = torch.tensor([[abs(v - 32) for v in centre(x[None])] for x in moved])
    assert 5 < offsets.max() < 6.5 * 1.12
    assert (move(images, still, still + 1, seeded()) - images).abs().amax((1, 2, 3)).min() > 0.1, "bent"
    flat = move(images * 0 + 0.3, still + 0.12, still + 1, seeded())
    assert torch.allclose(flat, torch.full_like(flat, 0.3), atol=1e-5), "no black borders"


# opening


@pytest.fixture
def dataset(tmp_path: Path, cache: str) -> Path:
    """Four people for training, of whom one has clay, and one for testing."""
    data = make_data(tmp_path / "data")
    np.savez(clay_path(data / "train/b#0.png"), clay=np.ones((5, 64, 64), np.uint8))
    return data


def test_settings_reach_the_stream(dataset):
    config = TrainConfig(data=str(dataset), repeats=4, seed=5, limit_videos=3)
    words: list[str] = []
    train, test = pairs.open_pairs("vox", TINY, config, words.append)
    assert (len(train), train.config, train.clay) == (12, config, False)
    assert (list(train.clips), list(test.clips)) == (["a", "b", "c"], ["e"])
    assert words[0].startswith(f"3 training clips in {dataset}")
    assert len(test[0].rows[0]) == 64 * 64 * 3
    (dataset / "test/e#0.png").unlink()
    train, test = pairs.open_pairs("vox", TINY, config, words.append)
    assert test.clips == train.clips and words[-1].startswith("no test split")
    listed = ["a1", "a2", "a3", "b1", "c1", "c2"]
    assert spread(listed, lambda name: name[0]) == ["a1", "b1", "c1", "a2", "c2", "a3"], "for limit_videos"


def test_taught_masks_take_what_has_clay(dataset):
    config = TrainConfig(data=str(dataset), masks="taught")
    train, test = pairs.open_pairs("vox", TINY, config, lambda _: None)
    assert (list(train.clips), list(test.clips), train.clay) == (["b"], ["e"], True)
    assert len(train[0].rows[0]) == 64 * 64 * 4


def test_toons_are_of_the_training_range_and_held_out_ones_are_not(tmp_path, monkeypatch):
    monkeypatch.setenv("ANIMASK_CACHE", str(tmp_path))
    train, test = pairs.open_pairs("toons", TINY, TrainConfig(toons=1.0, toon_pool=9, repeats=7), lambda _: None)
    numbers = [[int(path.name.split("-")[1]) for path in stream.pool] for stream in (train, test)]
    assert (len(train), numbers[1]) == (7, list(range(TROUPE)))
    assert numbers[0] == list(range(TOON_IDENTITIES, TOON_IDENTITIES + 2 * TROUPE))


def test_pictures_are_read_with_their_clay_and_broken_ones_named(tmp_path):
    words: list[str] = []
    write_image(tmp_path / "a.png", np.full((40, 80, 3), 90, np.uint8))
    write_image(tmp_path / "c.jpg", np.full((64, 64, 3), 150, np.uint8))
    (tmp_path / "b.png").write_bytes(b"no picture")
    found = pairs.read_pictures(str(tmp_path), 32, False, words.append)
    assert [(len(row), round(float(row.mean()))) for row in found] == [(3072, 90), (3072, 150)]
    assert [word.split(":")[0] for word in words] == ["skipped b.png"]
    with pytest.raises(InputError, match="with clay"):
        pairs.read_pictures(str(tmp_path), 32, True, words.append)
    np.savez(clay_path(tmp_path / "c.jpg"), clay=np.full((1, 64, 64), 7, np.uint8))
    (row,) = pairs.read_pictures(str(tmp_path), 32, True, words.append)
    assert len(row) == 3072 + 4096
    assert set(row[3072:]) == {7}
    for folder in ("", str(tmp_path / "none")):
        with pytest.raises(InputError):
            pairs.read_pictures(folder, 32, False, words.append)
