"""Raw videos to a data set: what it is made from, settings, halves, and whole runs on generated videos."""

import csv
import json
import shutil
from fractions import Fraction

import cv2
import numpy as np
import pytest
from conftest import full_disk, touch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_shots import mix

from animask import preparation
from animask.clay import paint_clay
from animask.errors import AnimaskError, InputError
from animask.images import read_image, write_image
from animask.preparation import MAX_NAME_BYTES, PrepareConfig, Record, assign_partitions, list_originals, prepare
from animask.toons import Pose, render, sample_identity
from animask.video import probe, read_frames, write_video

SMALL = PrepareConfig(resolution=64, box="centre", min_seconds=0.4, test=0.5)
FACES = PrepareConfig(resolution=64, min_seconds=0.4, min_size=40, test=0)
RED, GREEN, BLUE = (220, 40, 30), (30, 200, 60), (30, 60, 220)


def moving(colour, count, size=(96, 64)):
    """Pictures of a gradient of one colour, in which a bright bar rises."""
    width, height = size
    ground = np.linspace(0.6, 1.0, width)[None, :, None] * np.array(colour) * np.ones((height, 1, 1))
    frames = [ground.astype(np.uint8) for _ in range(count)]
    for number, frame in enumerate(frames):
        top = (3 * number) % (height - 8)
        frame[top : top + 8] = 250
    return frames


def write(path, frames):
    path.parent.mkdir(exist_ok=True)
    write_video(path, frames, Fraction(25))
    return path


def table(dataset):
    with (dataset / "prepared.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def clips(dataset):
    """All files in the two halves."""
    return sorted(f"{path.parent.name}/{path.name}" for path in dataset.glob("*/*"))


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Videos of three identities, one with a cut, two in a sub-folder; and some of which no clip is made."""
    root = tmp_path_factory.mktemp("raw")
    write(root / "alice" / "one.mp4", moving(RED, 12))
    write(root / "alice" / "two.mp4", moving(RED, 10) + moving(BLUE, 14))
    write(root / "bob.mp4", moving(GREEN, 15))
    write(root / "carol.mp4", moving(BLUE, 11))
    write(root / "photo.mp4", moving(BLUE, 1) * 15)
    write(root / "short.mp4", moving(RED, 5))
    write(root / "small.mp4", moving(RED, 12, (64, 46)))
    (root / "broken.mp4").write_bytes((root / "alice" / "one.mp4").read_bytes()[:300])
    (root / "notes.txt").write_text("not a video")
    return root


@pytest.fixture(scope="module")
def dataset(raw, tmp_path_factory):
    """`raw`, prepared by two threads."""
    out = tmp_path_factory.mktemp("made") / "data"
    return out, prepare([raw], out, SMALL, workers=2)


# what it is made from


def find(root, stills=False):
    """The paths of originals by how the names of their clips begin."""
    originals, left_out = list_originals([root], root / "out", stills)
    return {original.key: original.label for original in originals}, left_out


def test_videos_are_told_by_what_is_in_them_and_the_rest_is_counted(driver, tmp_path):
    """A broken video is not left out: it is named later. Hidden files and the output do not count."""
    shutil.copy(driver, tmp_path / "a.mxf")
    shutil.copy(driver, tmp_path / "unnamed")
    frames = [Image.fromarray(frame) for frame in moving(RED, 3)]
    for name in ("moving.gif", "moving-too.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], duration=40)
    frames[0].save(tmp_path / "still.gif")
    write_image(tmp_path / "cover.jpg", moving(RED, 1)[0])
    touch(tmp_path, "broken.mov", "notes.txt", "list.csv", ".hidden.txt", "out/prepared.json")
    found, left_out = find(tmp_path)
    assert list(found.values()) == ["a.mxf", "broken.mov", "moving.gif", "moving-too.png", "unnamed"]
    assert left_out == {"no video or picture": 2, "a still picture": 2}
    stills = {"cover": "cover.jpg", "still": "still.gif"}
    assert find(tmp_path, stills=True) == (stills, {"no video or picture": 2, "a video": 5})


def test_identities_are_sub_folders_or_files_and_a_folder_of_pictures_is_a_video(tmp_path):
    touch(tmp_path, "alice/a.mp4", "alice/day#1/b.MOV", "talk.webm", "id7#part#2.avi", ".hidden/c.mp4")
    touch(tmp_path, "dora/1.png", "dora/2.png")
    assert find(tmp_path)[0] == {
        "alice#a": "alice/a.mp4",
        "alice#day-1-b": "alice/day#1/b.MOV",
        "dora": "dora",
        "talk": "talk.webm",
        "id7#part-2": "id7#part#2.avi",
    }
    assert find(tmp_path / "dora") == ({"dora": "dora"}, {})


def test_two_of_one_name_are_refused_but_one_may_be_given_twice(tmp_path):
    touch(tmp_path, "a.mp4", "a.mov")
    with pytest.raises(InputError, match="become a"):
        find(tmp_path)
    assert len(list_originals([tmp_path / "a.mp4", tmp_path / "a.mp4"], tmp_path / "out", False)[0]) == 1


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_inputs_without_videos_are_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=name):
        find(tmp_path / name)


def test_long_names_are_cut_and_stay_different(tmp_path):
    touch(tmp_path, "a" + "é" * 110 + ".mp4", "b" + "é" * 110 + ".mp4")
    found, _ = find(tmp_path)
    assert len(found) == 2 and all(len(key.encode()) <= MAX_NAME_BYTES for key in found)


# settings, and who is in which half


@pytest.mark.parametrize(
    "changes", [{"resolution": 65}, {"fps": Fraction(0)}, {"min_seconds": float("nan")}, {"test": 1.0}, {"box": "1,2"}]
)
def test_wrong_settings_are_refused(changes):
    with pytest.raises(InputError):
        PrepareConfig(**changes)


def rows(names):
    return [Record(f"{name}.mp4", name, file=f"{name}.mp4") for name in names]


def halves(records):
    return {row.identity: row.partition for row in records}


@given(st.integers(2, 40), st.floats(0.01, 0.9))
def test_the_split_is_by_identity_and_stays_when_the_data_set_grows(count, share):
    names = [f"id{k}" for k in range(count)]
    records = assign_partitions(rows(names) + rows(names), share)
    tests = [name for name, half in halves(records).items() if half == "test"]
    assert 1 <= len(tests) < count
    assert abs(len(tests) - share * count) <= 1
    assert all(row.partition == halves(records)[row.identity] for row in records)
    assert halves(assign_partitions(rows(reversed(names)), share)) == halves(records)
    grown = halves(assign_partitions(records + rows(f"new{k}" for k in range(40)), share))
    assert halves(records).items() <= grown.items()
    assert abs(list(grown.values()).count("test") - share * (count + 40)) <= 1


def test_records_are_read_as_they_were_written(tmp_path):
    """Whatever is in a name: commas, ends of lines, bytes that are no text; one without a clip is in no half."""
    odd = Record("caf\udce9.mp4", 'a, "b"\r\nc', 3, 9, "30000/1001", "1,2,3", reason="no face: in 2 of 3 frames")
    records = assign_partitions([*rows("ac"), odd], 0.5)
    preparation.write_records(tmp_path, records)
    assert preparation.read_records(tmp_path) == sorted(records) and odd in records


# whole runs


def test_shots_become_clips_and_what_was_dropped_has_its_reason(dataset):
    out, summary = dataset
    found = {row["file"]: row for row in table(out) if row["file"]}
    assert set(found) == {
        "alice#one#000000#000012.mp4",
        "alice#two#000000#000010.mp4",
        "alice#two#000010#000024.mp4",
        "bob#000000#000015.mp4",
        "carol#000000#000011.mp4",
    }
    assert clips(out) == sorted(f"{row['partition']}/{name}" for name, row in found.items())
    for name, row in found.items():
        info = probe(out / row["partition"] / name)
        assert (info.width, info.height, info.fps) == (64, 64, 25)
        assert info.frames == int(row["end"]) - int(row["start"])
    assert halves(preparation.read_records(out)).items() >= {"alice": "test", "bob": "train", "carol": "test"}.items()
    assert (summary.clips, summary.seconds, summary.train_identities, summary.test_identities) == (5, 62 / 25, 1, 2)
    reasons = {row["origin"].split(".")[0]: row["reason"].split(":")[0] for row in table(out) if row["reason"]}
    assert reasons == {"broken": "unreadable", "photo": "still", "short": "too short", "small": "too small"}
    assert summary.dropped == dict.fromkeys(reasons.values(), 1) and summary.left_out == {"no video or picture": 1}


def test_a_second_run_tries_only_what_could_not_be_read(raw, dataset):
    out, _ = dataset
    files = [*out.glob("*/*.mp4")]
    before, content = [path.stat().st_mtime_ns for path in files], (out / "prepared.csv").read_text()
    summary = prepare([raw], out, SMALL)
    assert (summary.done, summary.done_before, summary.clips) == (1, 7, 5)
    assert [path.stat().st_mtime_ns for path in files] == before
    assert (out / "prepared.csv").read_text() == content


def test_an_interrupted_run_is_continued(raw, dataset, tmp_path):
    """Ctrl-C after the first video: its row is kept, nothing half-written is; the end is as without it."""
    out = tmp_path / "data"

    def interrupt(done, total, line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare([raw], out, SMALL, progress=interrupt)
    assert 1 <= len({row["origin"] for row in table(out)}) < 8
    assert not list(out.glob("*/.*"))
    assert prepare([raw], out, SMALL).clips == 5
    assert table(out) == table(dataset[0])
    assert clips(out) == clips(dataset[0])


def test_other_settings_and_other_folders_are_refused(raw, dataset, tmp_path):
    with pytest.raises(InputError, match="resolution 64"):
        prepare([raw], dataset[0], PrepareConfig(resolution=128, box="centre", min_seconds=0.4, test=0.5))
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError):
        prepare([raw], tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_clip_that_cannot_be_written_ends_the_run(raw, tmp_path):
    """A full disk is not the video's fault: it is not recorded as dropped, and the next run does it."""
    out = tmp_path / "data"
    with pytest.raises(AnimaskError), full_disk():
        prepare([raw / "bob.mp4"], out, SMALL)
    assert table(out) == [] and clips(out) == []
    assert prepare([raw / "bob.mp4"], out, SMALL).clips == 1


@pytest.mark.parametrize(("box", "square", "diameter"), [("centre", "16,0,64", 40), ("pad", "0,-16,96", 40 * 64 / 96)])
def test_a_circle_stays_a_circle(tmp_path, box, square, diameter):
    frames = [cv2.circle(np.full((64, 96, 3), 30, np.uint8), (48, 32), 20, (230, 230, 230), -1) for _ in range(12)]
    for number, frame in enumerate(frames):
        cv2.circle(frame, (48, 32), number, (200, 230, 30), -1)
    config = PrepareConfig(resolution=64, box=box, min_seconds=0.4, min_size=40)
    prepare([write(tmp_path / "a.mp4", frames)], tmp_path / "data", config)
    (row,) = table(tmp_path / "data")
    assert row["square"] == square
    disc = next(read_frames(tmp_path / "data" / "train" / row["file"]))[..., 1] > 130
    sizes = [np.ptp(np.flatnonzero(disc.any(axis))) + 1 for axis in (0, 1)]
    assert sizes == pytest.approx([diameter] * 2, abs=2)


# faces and their clay


def talk(identity, count, side=160):
    """A head that opens and shuts its mouth."""
    return [render(sample_identity(identity), Pose(mouth_open=n % 4 / 4), side) for n in range(count)]


def test_the_square_follows_the_face_and_clay_lies_beside_the_clip(tmp_path):
    """Two shots of a toon at two places of a wider picture, at last with a hidden face, and one of nobody."""
    frames = [np.full((180, 400, 3), 120, np.uint8) for _ in range(26)]
    heads = talk(1, 13) + talk(2, 13)
    heads[25][51:116, 44:116] = heads[25][51:52, 44:116]  # the forehead over eyes, nose and mouth
    for number, head in enumerate(heads):
        frames[number][10:170, (10 if number < 13 else 230) :][:, :160] = head
    out = tmp_path / "data"
    video = write(tmp_path / "a.mp4", frames + moving(GREEN, 13, (400, 180)))
    assert prepare([video], out, FACES).dropped == {"no face": 1}
    for row, start, centre in zip(table(out), (0, 13), (90, 310), strict=False):
        x, y, size = (int(part) for part in row["square"].split(","))
        assert x + size / 2 == pytest.approx(centre, abs=20)
        clip = list(read_frames(out / "train" / row["file"]))
        expected = cv2.resize(frames[start][y : y + size, x : x + size], (64, 64), interpolation=cv2.INTER_AREA)
        assert np.abs(clip[0].astype(int) - expected).mean() < 6
        clay = np.load(out / "train" / row["file"].replace(".mp4", ".clay.npz"))["clay"]
        assert (clay.dtype, clay.shape) == (np.uint8, (13, 64, 64))
        assert np.abs(clay[0].astype(int) - paint_clay(clip[0])).mean() < 8
    assert clay[:12].any((1, 2)).all() and not clay[12].any(), "of a frame without a face"


def test_two_people_in_a_dissolve_are_two_clips(tmp_path):
    frames = mix(talk(1, 24), talk(2, 24), 8)
    summary = prepare([write(tmp_path / "a.mp4", frames)], tmp_path / "data", FACES)
    assert (summary.clips, summary.dropped) == (2, {"dissolve": 1})


def test_pictures_become_stills(tmp_path):
    """A portrait beside one larger than its picture, a view of nobody and a text."""
    wide = np.full((180, 300, 3), 120, np.uint8)
    wide[10:170, 100:260] = talk(1, 1)[0]
    (tmp_path / "raw").mkdir()
    write_image(tmp_path / "raw" / "ada.png", wide)
    write_image(tmp_path / "raw" / "near.png", talk(1, 1, 300)[0][90:210, 90:210])
    write_image(tmp_path / "raw" / "nobody.png", moving(GREEN, 1)[0])
    (tmp_path / "raw" / "notes.txt").write_text("...")
    out = tmp_path / "stills"
    summary = prepare([tmp_path / "raw"], out, PrepareConfig(64, stills=True, min_size=40))
    assert clips(out) == ["train/ada.clay.npz", "train/ada.png"]
    assert summary.dropped == {"too close": 1, "no face": 1} and summary.left_out == {"no video or picture": 1}
    assert read_image(out / "train" / "ada.png").shape == (64, 64, 3)


# the command


COMMAND = "prepare --box centre --resolution 64 --min-seconds 0.4 --workers 1"


def test_the_command_prints_the_path_alone_and_fails_where_nothing_came(raw, tmp_path, run):
    code, out, err = run(COMMAND, raw, "-o", tmp_path / "data")
    assert (code, out) == (0, f"{tmp_path / 'data'}\n")
    assert all(words in err for words in ("two.mp4: 2 kept", "1 dropped: too short", "1 left out: no video"))
    code, out, err = run(COMMAND, raw / "short.mp4", "-o", tmp_path / "out", "--json", "-q")
    report = json.loads(out)
    assert (code, err) == (1, "")
    assert (report["dataset"], report["clips"], report["done"]) == (str(tmp_path / "out"), 0, 1)


@pytest.mark.parametrize("arguments", [["absent.mp4"], ["--box", "left"], ["--fps", "fast"]])
def test_mistakes_are_explained(raw, tmp_path, run, arguments):
    code, _, err = run(COMMAND, raw, "-o", tmp_path / "data", *arguments)
    assert code == 2 and arguments[-1] in err
    assert not (tmp_path / "data").exists()


def test_an_interrupted_command_says_how_to_go_on(raw, tmp_path, run, monkeypatch):
    def interrupt(*arguments):
        raise SystemExit(143)

    monkeypatch.setattr("animask.preparation.prepare", interrupt)
    code, out, err = run(COMMAND, raw, "-o", tmp_path / "data")
    assert (code, out) == (143, "")
    assert "the same command continues" in err
