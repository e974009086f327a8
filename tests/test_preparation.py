"""Raw videos to a data set: shots, names, boxes, halves, and whole runs on generated videos."""

import csv
import json
import threading
from concurrent.futures import CancelledError
from fractions import Fraction
from itertools import pairwise

import cv2
import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from animask.cli.prepare import prepare as command
from animask.cli.prepare import read_fps
from animask.cli.screen import Terminated
from animask.errors import AnimaskError, InputError
from animask.images import write_image
from animask.preparation import PrepareConfig, Record, prepare
from animask.preparation.boxes import GivenBox, read_boxes
from animask.preparation.clips import Job, process
from animask.preparation.records import assign_partitions, read_records, write_records
from animask.preparation.scenes import CutFinder, list_shots
from animask.preparation.sources import list_sources
from animask.toons import Pose, render, sample_identity
from animask.video import VideoWriter, probe, read_frames

FPS = Fraction(25)
SMALL = PrepareConfig(resolution=64, box="centre", min_seconds=0.4, test=0.5)


def plain(colour, size=(96, 64)):
    """A picture of one colour with a gradient, so that it is no special case."""
    width, height = size
    ramp = np.linspace(0.6, 1.0, width)[None, :, None]
    return np.broadcast_to(ramp * np.array(colour), (height, width, 3)).astype(np.uint8).copy()


def write(path, frames, fps=FPS):
    height, width = frames[0].shape[:2]
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, fps, (width, height)) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def table(dataset):
    with (dataset / "prepared.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def clips(dataset):
    """The names of all files in the two halves, hidden ones too."""
    return sorted(f"{path.parent.name}/{path.name}" for path in dataset.glob("*/*"))


RED, GREEN, BLUE = (220, 40, 30), (30, 200, 60), (30, 60, 220)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Videos of four identities: two in a sub-folder, one with a cut, one short, one broken."""
    root = tmp_path_factory.mktemp("raw")
    write(root / "alice" / "one.mp4", [plain(RED)] * 12)
    write(root / "alice" / "two.mp4", [plain(RED)] * 10 + [plain(BLUE)] * 14)
    write(root / "bob.mp4", [plain(GREEN)] * 15)
    write(root / "carol.mp4", [plain(BLUE)] * 11)
    write(root / "short.mp4", [plain(RED)] * 5)
    (root / "broken.mp4").write_bytes((root / "alice" / "one.mp4").read_bytes()[:300])
    (root / "notes.txt").write_text("not a video")
    return root


# shots


def cuts_of(frames):
    finder = CutFinder()
    for frame in frames:
        finder.add(frame)
    assert finder.count == len(frames)
    return finder.cuts


def test_a_cut_is_the_first_frame_of_a_shot():
    assert cuts_of([plain(RED)] * 5 + [plain(GREEN)] * 4 + [plain(RED)] * 3) == [5, 9]


def test_a_flash_of_one_frame_is_no_cut():
    frames = [plain(RED)] * 12
    frames[6] = np.full_like(frames[0], 255)
    assert cuts_of(frames) == []


def test_a_head_in_motion_is_no_cut():
    identity = sample_identity(3)
    poses = [Pose(x=x, yaw=3 * x) for x in np.linspace(-0.12, 0.12, 8)]
    assert cuts_of([render(identity, pose, 96) for pose in poses]) == []


def test_another_person_is_a_cut():
    frames = [render(sample_identity(seed), Pose(), 96) for seed in (3, 4, 5)]
    assert cuts_of([frame for frame in frames for _ in range(3)]) == [3, 6]


def test_long_shots_are_divided_equally():
    """100 frames, cut at 10; at most 40: the second shot has 90 and becomes three of 30."""
    assert list_shots([10], 100, 40) == [(0, 10), (10, 40), (40, 70), (70, 100)]


@given(st.lists(st.integers(1, 999), max_size=5, unique=True), st.integers(1, 300))
def test_shots_cover_the_video(cuts, longest):
    shots = list_shots(sorted(cuts), 1000, longest)
    assert shots[0][0] == 0 and shots[-1][1] == 1000
    assert all(a[1] == b[0] for a, b in pairwise(shots))
    assert all(0 < end - start <= longest for start, end in shots)


# names


def test_identities_are_sub_folders_or_files(tmp_path):
    for name in ("alice/a.mp4", "alice/day#1/b.MOV", "talk.webm", "id7#part#2.avi", ".hidden/c.mp4", "x.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "out" / "train").mkdir(parents=True)
    (tmp_path / "out" / "train" / "old.mp4").touch()
    found = {source.key: source.label for source in list_sources([tmp_path], tmp_path / "out")}
    assert found == {
        "alice#a": "alice/a.mp4",
        "alice#day-1-b": "alice/day#1/b.MOV",
        "talk": "talk.webm",
        "id7#part-2": "id7#part#2.avi",
    }


def test_a_folder_of_pictures_is_a_video(tmp_path):
    (tmp_path / "dora").mkdir()
    for number in range(3):
        write_image(tmp_path / "dora" / f"{number}.png", plain(RED))
    (source,) = list_sources([tmp_path], tmp_path / "out")
    assert (source.key, source.path) == ("dora", tmp_path / "dora")
    assert list_sources([tmp_path / "dora"], tmp_path / "out")[0].key == "dora"


def test_two_videos_of_one_name_are_refused(tmp_path):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "a.mov").touch()
    with pytest.raises(InputError, match=r"a\.m.*and.*a\.m.*would both become a"):
        list_sources([tmp_path], tmp_path / "out")
    assert len(list_sources([tmp_path / "a.mp4", tmp_path / "a.mp4"], tmp_path / "out")) == 1


@pytest.mark.parametrize(("name", "words"), [("absent", "does not exist"), ("empty", "holds no videos")])
def test_inputs_without_videos_are_refused(tmp_path, name, words):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=words):
        list_sources([tmp_path / name], tmp_path / "out")


# given boxes

HEADER = "video_id,start,end,bbox,fps,width,height,partition,person_id\n"


def test_a_given_box_becomes_a_square_around_its_centre():
    """100 × 200 at (150, 200) of 640 × 480, in a picture of twice the size: 400 pixels around (300, 400)."""
    box = GivenBox(30, 90, (100, 100, 200, 300), Fraction(30), 640, 480)
    assert box.square(960, 1280) == (100, 200, 400)
    assert box.square(480, 640) == (50, 100, 200)
    assert box.frames(Fraction(25)) == (25, 75)


def test_a_square_that_would_reach_out_is_moved():
    assert GivenBox(0, 9, (0, 0, 50, 200), Fraction(25), 300, 250).square(250, 300) == (0, 0, 200)


def test_boxes_are_read_by_video(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text(HEADER + "abc#7,0,50,10-20-30-60,29.97,640,360,test,id1\nabc#8,5,6,1-2-3-4,25,64,36,,\n")
    first, second = read_boxes(path)["abc"]
    assert first == GivenBox(0, 50, (10, 20, 30, 60), Fraction("29.97"), 640, 360, "id1", "test")
    assert (second.identity, second.partition) == ("", "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("video_id,start\n", "no column end"),
        (HEADER + "a,0,50,10-20-30,25,64,36,,\n", "not understood"),
        (HEADER + "a,0,50\n", "not understood"),
        (HEADER + "a,9,9,1-2-3-4,25,64,36,,\n", "empty clip or box"),
        (HEADER + "a,0,9,3-2-3-4,25,64,36,,\n", "empty clip or box"),
        (HEADER + "a,0,9,1-2-3-4,0,64,36,,\n", "wrong fps"),
        (HEADER + "a,0,9,1-2-3-4,25,64,36,half,\n", "wrong fps, width, height or partition"),
        (HEADER + "a,0,9,1-2-3-4,25,64,36,,../x\n", "cannot begin the name of a file"),
    ],
)
def test_wrong_boxes_are_explained(tmp_path, text, words):
    path = tmp_path / "boxes.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_boxes(path)


# settings, and who is in which half


@pytest.mark.parametrize(
    "changes",
    [
        {"resolution": 65},
        {"fps": Fraction(0)},
        {"min_size": 0},
        {"max_seconds": 1.5},
        {"max_seconds": float("inf")},
        {"min_seconds": float("nan")},
        {"test": 1.0},
        {"box": "left"},
        {"box": "1,2"},
        {"box": "-1,0,50"},
    ],
)
def test_wrong_settings_are_refused(changes):
    with pytest.raises(InputError):
        PrepareConfig(**changes)


def test_lengths_are_in_frames():
    config = PrepareConfig(fps=Fraction(30000, 1001), min_seconds=1.0, max_seconds=10.0)
    assert (config.min_frames, config.max_frames) == (30, 300)
    assert PrepareConfig(min_seconds=0).min_frames == 2


def rows(names):
    return [Record(f"{name}.mp4", 1, name, name, file=f"{name}.mp4") for name in names]


def halves(records):
    return {row.person_id: row.partition for row in records}


@given(st.integers(2, 40), st.floats(0.01, 0.9), st.integers(0, 5))
def test_the_split_is_by_identity(count, share, seed):
    names = [f"id{k}" for k in range(count)]
    records = assign_partitions(rows(names) + rows(names), share, seed)
    tests = [name for name, half in halves(records).items() if half == "test"]
    assert 1 <= len(tests) < count
    assert abs(len(tests) - share * count) <= 1
    by_name = [{row.partition for row in records if row.person_id == name} for name in names]
    assert all(len(partitions) == 1 for partitions in by_name)
    assert halves(assign_partitions(rows(reversed(names)), share, seed)) == halves(records)


def test_a_grown_data_set_keeps_its_halves():
    first = assign_partitions(rows(f"id{k}" for k in range(10)), 0.3, 0)
    grown = assign_partitions(first + rows(f"new{k}" for k in range(10)), 0.3, 0)
    assert halves(first).items() <= halves(grown).items()
    assert sum(half == "test" for half in halves(grown).values()) == 6


def test_one_identity_is_for_training():
    assert halves(assign_partitions(rows(["a"]), 0.5, 0)) == {"a": "train"}
    assert set(halves(assign_partitions(rows("abcd"), 0.0, 0)).values()) == {"train"}


def test_dropped_rows_are_in_no_half(tmp_path):
    dropped = Record("b.mp4", 1, "b", "b", reason="no face")
    records = assign_partitions([*rows("ac"), dropped], 0.5, 0)
    assert halves(records)["b"] == ""
    write_records(tmp_path, records)
    assert read_records(tmp_path) == sorted(records, key=lambda row: row.person_id)


def test_a_damaged_record_is_named(tmp_path):
    """Also one that names a file outside of the data set, which a later run might remove."""
    write_records(tmp_path, [Record("a.mp4", 1, "a", "a", file="../../a.mp4")])
    for text in ("source,bytes\na.mp4,many\n", (tmp_path / "prepared.csv").read_text()):
        (tmp_path / "prepared.csv").write_text(text)
        with pytest.raises(InputError, match=r"prepared\.csv"):
            read_records(tmp_path)


def test_names_that_are_not_text_are_kept(tmp_path):
    record = Record("caf\udce9.mp4", 1, "caf\udce9", "caf\udce9")
    write_records(tmp_path, [record])
    assert read_records(tmp_path) == [record]


def test_a_link_that_leads_nowhere_is_a_row(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.mp4").symlink_to(tmp_path / "absent.mp4")
    prepare([tmp_path / "raw"], tmp_path / "data", SMALL)
    assert "does not exist" in table(tmp_path / "data")[0]["reason"]


# whole runs


@pytest.fixture(scope="module")
def dataset(raw, tmp_path_factory):
    """`raw`, prepared by two threads."""
    out = tmp_path_factory.mktemp("made") / "data"
    return out, prepare([raw], out, SMALL, workers=2)


def test_shots_become_clips(dataset):
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
    assert (summary.clips, summary.seconds) == (5, 62 / 25)


def test_what_was_dropped_has_its_reason(dataset):
    out, summary = dataset
    reasons = {row["source"]: row["reason"] for row in table(out) if not row["file"]}
    assert set(reasons) == {"short.mp4", "broken.mp4"}
    assert reasons["short.mp4"] == "too short: 5 frames, fewer than 10"
    assert reasons["broken.mp4"].startswith("unreadable: ")
    assert summary.dropped == {"too short": 1, "unreadable": 1}


def test_an_identity_is_in_one_half(dataset):
    out, summary = dataset
    found = {(row["person_id"], row["partition"]) for row in table(out) if row["file"]}
    assert len(found) == 3
    assert {partition for _, partition in found} == {"train", "test"}
    assert (summary.train_identities, summary.test_identities) == (1, 2)


def test_a_second_run_does_nothing(raw, dataset):
    out, _ = dataset
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/*.mp4")}
    content = (out / "prepared.csv").read_text()
    summary = prepare([raw], out, SMALL)
    assert (summary.videos, summary.videos_done_before, summary.clips) == (0, 6, 5)
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/*.mp4")} == before
    assert (out / "prepared.csv").read_text() == content


def test_an_interrupted_run_is_continued(raw, dataset, tmp_path):
    """Ctrl-C after the first video: its row is kept, nothing half-written is; the end is as without it."""
    out = tmp_path / "data"

    def interrupt(done, total, line):
        if line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare([raw], out, SMALL, progress=interrupt)
    assert 1 <= len({row["source"] for row in table(out)}) < 6
    assert all(path.endswith(".mp4") for path in clips(out))
    assert not list(out.rglob("*partial*"))
    summary = prepare([raw], out, SMALL)
    assert summary.videos + summary.videos_done_before == 6 and summary.videos_done_before >= 1
    assert table(out) == table(dataset[0])
    assert clips(out) == clips(dataset[0])


def test_a_stopped_video_leaves_nothing(raw, tmp_path):
    (source,) = list_sources([raw / "bob.mp4"], tmp_path)
    (tmp_path / "train").mkdir()
    stopped = threading.Event()
    given = (GivenBox(0, 12, (0, 0, 64, 64), FPS, 96, 64),)
    job = Job(source, tmp_path, SMALL, given, stopped, lambda fraction: None)
    stopped.set()
    with pytest.raises(CancelledError):
        process(job)
    assert list((tmp_path / "train").iterdir()) == []


def test_other_settings_are_refused(raw, dataset):
    out, _ = dataset
    with pytest.raises(InputError, match="begun with resolution 64, not 128"):
        prepare([raw], out, PrepareConfig(resolution=128, box="centre", min_seconds=0.4, test=0.5))


def test_a_folder_of_something_else_is_left_alone(raw, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="was not made by"):
        prepare([raw], tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_changed_video_is_done_again(tmp_path):
    """The clips of its old version go."""
    video, out = tmp_path / "raw" / "a.mp4", tmp_path / "data"
    write(video, [plain(RED)] * 12)
    prepare([video], out, SMALL)
    write(video, [plain(RED)] * 20)
    summary = prepare([video], out, SMALL)
    assert (summary.videos, clips(out)) == (1, ["train/a#000000#000020.mp4"])


def test_a_clip_that_cannot_be_written_ends_the_run(raw, tmp_path, monkeypatch):
    """A full disk is not the video's fault: it is not recorded as dropped, and the next run does it."""
    out = tmp_path / "data"

    def fail(self, frame):
        raise AnimaskError("No space left on device.")

    with monkeypatch.context() as patch, pytest.raises(AnimaskError, match="No space left"):
        patch.setattr(VideoWriter, "write", fail)
        prepare([raw / "bob.mp4"], out, SMALL)
    assert table(out) == [] and clips(out) == []
    assert prepare([raw / "bob.mp4"], out, SMALL).clips == 1


def test_frame_rates_are_resampled_by_time(tmp_path):
    """15 frames at 30000/1001 a second last half a second: 12 or 13 frames at 25."""
    write(tmp_path / "a.mp4", [plain(RED)] * 15, Fraction(30000, 1001))
    out = tmp_path / "data"
    prepare([tmp_path / "a.mp4"], out, SMALL)
    (clip,) = (out / "train").iterdir()
    assert probe(clip).fps == 25 and probe(clip).frames in (12, 13)


@pytest.mark.parametrize(
    ("box", "bbox", "diameter"),
    [("centre", "16-0-80-64", 40), ("pad", "0-0-96-64", 40 * 64 / 96), ("18,2,60", "18-2-78-62", 40 * 64 / 60)],
)
def test_a_circle_stays_a_circle(tmp_path, box, bbox, diameter):
    picture = np.full((64, 96, 3), 30, np.uint8)
    cv2.circle(picture, (48, 32), 20, (230, 230, 230), -1)
    write(tmp_path / "a.mp4", [picture] * 12)
    out = tmp_path / "data"
    config = PrepareConfig(resolution=64, box=box, min_seconds=0.4, min_size=40)
    assert prepare([tmp_path / "a.mp4"], out, config).clips == 1
    assert table(out)[0]["bbox"] == bbox
    disc = next(read_frames(out / "train" / "a#000000#000012.mp4"))[..., 1] > 130
    across, down = np.ptp(np.flatnonzero(disc.any(0))) + 1, np.ptp(np.flatnonzero(disc.any(1))) + 1
    assert across == pytest.approx(diameter, abs=2) and down == pytest.approx(diameter, abs=2)


def test_small_squares_and_boxes_outside_are_dropped(raw, tmp_path):
    for box, min_size, reason in (
        ("centre", 65, "too small: a square of 64 pixels, below 65"),
        ("50,0,64", 1, "box outside: the picture is 96×64"),
    ):
        out = tmp_path / reason[:3]
        config = PrepareConfig(resolution=64, box=box, min_seconds=0.4, min_size=min_size)
        prepare([raw / "bob.mp4"], out, config)
        assert [row["reason"] for row in table(out)] == [reason]


def test_the_square_follows_the_face(tmp_path):
    """Two shots of a toon at two places of a wider picture, and one of nobody."""
    left, right = (np.full((140, 300, 3), 120, np.uint8) for _ in range(2))
    left[10:130, 10:130] = render(sample_identity(1), Pose(), 120)
    right[10:130, 170:290] = render(sample_identity(2), Pose(), 120)
    write(tmp_path / "a.mp4", [left] * 13 + [right] * 13 + [plain(GREEN, (300, 140))] * 13)
    out = tmp_path / "data"
    prepare([tmp_path / "a.mp4"], out, PrepareConfig(resolution=64, min_seconds=0.4))
    first, second, third = table(out)
    assert third["reason"] == "no face"
    for row, centre in ((first, 70), (second, 230)):
        x, y, right_edge, bottom = (int(part) for part in row["bbox"].split("-"))
        assert right_edge - x == bottom - y
        assert (x + right_edge) / 2 == pytest.approx(centre, abs=15)
        clip = next(read_frames(out / row["partition"] / row["file"]))
        shown = (left if centre == 70 else right)[y:bottom, x:right_edge]
        expected = cv2.resize(shown, (64, 64), interpolation=cv2.INTER_AREA)
        assert np.abs(clip.astype(int) - expected).mean() < 6


def test_a_face_that_is_mostly_hidden_is_not_enough(tmp_path):
    """Frames 0, 6, 12 and 18 are looked at; from 3 on, eyes and nose are painted over with the forehead."""
    face = render(sample_identity(1), Pose(), 140)
    hidden = face.copy()
    hidden[45:92, 42:98] = face[45:46, 42:98]
    write(tmp_path / "a.mp4", [face] * 3 + [hidden] * 21)
    prepare([tmp_path / "a.mp4"], tmp_path / "data", PrepareConfig(resolution=64, min_seconds=0.4))
    assert [row["reason"] for row in table(tmp_path / "data")] == ["no face: found in only 1 of 4 frames"]


def test_prepared_csv_makes_the_same_data_set_again(raw, dataset, tmp_path):
    """It has the columns that --boxes reads: same clips, names and halves, without looking for anything."""
    out, _ = dataset
    prepare([raw], tmp_path / "data", SMALL, boxes=out / "prepared.csv")
    assert clips(tmp_path / "data") == clips(out)
    for name in clips(out):
        a, b = (list(read_frames(root / name)) for root in (out, tmp_path / "data"))
        assert np.array_equal(a, b)
    reasons = {row["source"]: row["reason"] for row in table(tmp_path / "data") if not row["file"]}
    assert reasons["short.mp4"] == "not in the CSV of boxes"


def test_boxes_name_identities_and_halves(raw, tmp_path):
    """As in vox-metadata.csv; a clip that goes on after the end is cut there, a second one of a name dropped."""
    text = HEADER + "bob,0,12,10-4-50-64,25,96,64,test,id9\nbob,3,99,0-0-64-64,25,96,64,test,id9\n"
    (tmp_path / "boxes.csv").write_text(text + "bob,0,12,0-0-64-64,25,96,64,test,id9\n")
    config = PrepareConfig(resolution=64, min_seconds=0.4)
    summary = prepare([raw / "bob.mp4"], tmp_path / "data", config, boxes=tmp_path / "boxes.csv")
    assert clips(tmp_path / "data") == ["test/id9#bob#000000#000012.mp4", "test/id9#bob#000003#000015.mp4"]
    assert summary.dropped == {"twice in the CSV of boxes": 1}


# the command

runner = CliRunner()
app = typer.Typer()
app.command()(command)
OPTIONS = ["--box", "centre", "--resolution", "64", "--min-seconds", "0.4", "--workers", "1"]


def test_the_command_prints_the_path_alone(raw, tmp_path):
    result = runner.invoke(app, [str(raw), "-o", str(tmp_path / "data"), *OPTIONS])
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'data'}\n")
    assert "two.mp4: 2 clips" in result.stderr
    assert "1 dropped: too short" in result.stderr
    assert len(clips(tmp_path / "data")) == 5


def test_the_command_prints_json(raw, tmp_path):
    arguments = [str(raw / "bob.mp4"), "-o", str(tmp_path / "data"), *OPTIONS, "--json", "-q"]
    result = runner.invoke(app, arguments)
    report = json.loads(result.stdout)
    assert (result.exit_code, result.stderr) == (0, "")
    assert (report["dataset"], report["clips"], report["videos"]) == (str(tmp_path / "data"), 1, 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent.mp4"], "absent.mp4 does not exist"),
        (["--box", "left"], "box 'left' is not understood"),
        (["--fps", "fast"], "frame rate 'fast'"),
        (["--resolution", "63"], "even number"),
    ],
)
def test_mistakes_are_explained(raw, tmp_path, arguments, words):
    result = runner.invoke(app, [str(raw), "-o", str(tmp_path / "data"), *OPTIONS, *arguments])
    assert isinstance(result.exception, InputError) and words in result.exception.message
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_an_interrupted_command_says_how_to_go_on(raw, tmp_path, monkeypatch, stop, code):
    def interrupt(path):
        raise stop

    monkeypatch.setattr("animask.preparation.running.list_sources", lambda inputs, without: interrupt(without))
    result = runner.invoke(app, [str(raw), "-o", str(tmp_path / "data"), *OPTIONS])
    assert (result.exit_code, result.stdout) == (code, "")
    assert "the same command continues" in result.stderr


def test_frame_rates_are_exact():
    assert read_fps("30000/1001") == Fraction(30000, 1001)
    assert read_fps("12.5") == Fraction(25, 2)
    with pytest.raises(InputError):
        read_fps("25/0")


def test_help_has_two_examples():
    text = runner.invoke(app, ["--help"]).stdout
    assert text.count("animask prepare") == 2
    assert "--boxes" in text
