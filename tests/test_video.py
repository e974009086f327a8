"""Videos: exact rates and durations, displayed shape, sound in time, whole outputs, nothing let in."""

import gc
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from animask.errors import AnimaskError, InputError
from animask.images import crop_resize, write_image
from animask.video import VideoWriter, clean_partials, probe, read_frames
from animask.video.ffmpeg import program
from animask.video.probing import list_pictures

NTSC = Fraction(30000, 1001)
WIDTH, HEIGHT = 96, 64


def ffmpeg(*arguments: object) -> bytes:
    command = [program(), "-nostdin", "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout


def counting_frames(count: int) -> Iterator[np.ndarray]:
    """Frame k is the flat grey 8 + 3 k: what is read back tells which frame it is."""
    for k in range(count):
        yield np.full((HEIGHT, WIDTH, 3), 8 + 3 * k, np.uint8)


def numbers(frames: Iterator[np.ndarray]) -> list[int]:
    return [round((float(frame.mean()) - 8) / 3) for frame in frames]


def make_counting(path: Path, count: int = 20, fps: Fraction = NTSC) -> Path:
    with VideoWriter(path, fps, (WIDTH, HEIGHT), crf=4) as writer:
        for frame in counting_frames(count):
            writer.write(frame)
    return path


def make_beep(path: Path, onset: float, length: float) -> Path:
    """A WAV, silent but for a tone that starts at `onset` seconds."""
    tone = f"aevalsrc='if(gte(t,{onset}),0.5*sin(2*PI*880*t),0)':s=44100:d={length}"
    ffmpeg("-f", "lavfi", "-i", tone, path)
    return path


def hear_onset(path: Path) -> float:
    """Seconds from the start of the file to the first loud sample, as a player would time it."""
    graph = "aresample=8000:async=1:first_pts=0"
    raw = ffmpeg("-i", path, "-map", "0:a:0", "-af", graph, "-ac", "1", "-f", "f32le", "-")
    return float(np.argmax(np.abs(np.frombuffer(raw, np.float32)) > 0.1)) / 8000


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 counting frames at 30000/1001 with a beep from 0.4 s on."""
    folder = tmp_path_factory.mktemp("clip")
    sound = make_beep(folder / "beep.wav", 0.4, 2)
    with VideoWriter(folder / "clip.mp4", NTSC, (WIDTH, HEIGHT), audio=sound, crf=4) as writer:
        for frame in counting_frames(20):
            writer.write(frame)
    return folder / "clip.mp4"


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of short clips of `testsrc`, each odd in its own way."""
    folder = tmp_path_factory.mktemp("shapes")
    source = ["-f", "lavfi", "-i", "testsrc=s=96x64:r=25:d=0.4"]
    h264 = ["-c:v", "libx264", "-pix_fmt", "yuv420p"]
    ffmpeg(*source, *h264, folder / "plain.mp4")
    ffmpeg("-display_rotation", 90, "-i", folder / "plain.mp4", "-c", "copy", folder / "rotated.mp4")
    ffmpeg(*source, "-vf", "setsar=15/16", *h264, folder / "sar.mp4")
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=97x65:r=25:d=0.4", "-c:v", "libvpx-vp9", folder / "odd.webm")
    ffmpeg(*source, "-c:v", "libx264", "-pix_fmt", "yuv420p10le", folder / "ten.mp4")
    ffmpeg(*source, "-frames:v", 1, *h264, folder / "one.mp4")
    ffmpeg(*source, "-frames:v", 1, folder / "one.gif")
    tone = ["-f", "lavfi", "-i", "sine=d=0.3"]
    ffmpeg(*tone, folder / "sound.m4a")
    ffmpeg(*source, "-frames:v", 1, folder / "cover.png")
    cover = ["-map", 0, "-map", 1, "-c", "copy", "-disposition:v:0", "attached_pic"]
    ffmpeg("-i", folder / "sound.m4a", "-i", folder / "cover.png", *cover, folder / "cover.m4a")
    return folder


@pytest.mark.parametrize(
    "fps", [NTSC, Fraction(24000, 1001), Fraction(25), Fraction(25, 2), Fraction(240), Fraction(1)]
)
@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_frame_rates_come_back_exactly(tmp_path: Path, suffix: str, fps: Fraction) -> None:
    path = make_counting(tmp_path / f"x{suffix}", 12, fps)
    info = probe(path)
    assert (info.fps, info.frames, info.is_variable) == (fps, 12, False)
    assert info.duration == pytest.approx(12 / fps, abs=0.002)
    assert numbers(read_frames(info)) == list(range(12))


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".m4v", ".webm", ".gif", ""])
def test_colours_survive(tmp_path: Path, suffix: str) -> None:
    colours = [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)]
    colours += [(200, 120, 90), (30, 60, 90)]
    image = np.zeros((64, 128, 3), np.uint8)
    for k, colour in enumerate(colours):
        image[k // 4 * 32 :, k % 4 * 32 : k % 4 * 32 + 32] = colour
    path = tmp_path / f"out{suffix}"
    with VideoWriter(path, Fraction(10), (128, 64)) as writer:
        for _ in range(5):
            writer.write(image)
    frame = list(read_frames(path))[3].astype(int)
    for k, colour in enumerate(colours):
        patch = frame[k // 4 * 32 + 12 : k // 4 * 32 + 20, k % 4 * 32 + 12 : k % 4 * 32 + 20]
        assert np.abs(patch - colour).max() <= 3, colour


def test_h264_is_tagged_and_starts_fast(clip: Path) -> None:
    said = subprocess.run([program(), "-hide_banner", "-i", clip], capture_output=True, text=True).stderr
    assert "yuv420p(tv, bt709, progressive)" in said
    data = clip.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_start_end_and_fps_lie_on_one_grid(clip: Path) -> None:
    assert numbers(read_frames(clip)) == list(range(20))
    for first in (1, 7, 19):
        assert numbers(read_frames(clip, start=float(first / NTSC))) == list(range(first, 20))
    assert numbers(read_frames(clip, start=float(5 / NTSC), end=float(9 / NTSC))) == [5, 6, 7, 8]
    halved = numbers(read_frames(clip, fps=NTSC / 2))
    assert len(halved) == 10
    assert all(abs(number - 2 * k) <= 1 for k, number in enumerate(halved))
    with pytest.raises(InputError, match="ends at"):
        read_frames(clip, start=3)
    with pytest.raises(InputError, match="empty"):
        read_frames(clip, start=0.3, end=0.2)


def test_late_start_in_a_long_clip(tmp_path: Path) -> None:
    path = make_counting(tmp_path / "long.mp4", 75, Fraction(25))
    assert numbers(read_frames(path, start=2.2)) == list(range(55, 75))


def test_variable_frame_rate_is_resampled_by_time(tmp_path: Path) -> None:
    constant = make_counting(tmp_path / "constant.mp4", 60, Fraction(30))
    path = tmp_path / "variable.mp4"
    keep = ["-vf", "select='not(mod(n,3))+gt(n,30)'", "-fps_mode", "vfr", "-crf", 4]
    ffmpeg("-i", constant, *keep, path)
    info = probe(path)
    assert info.is_variable
    assert (info.fps, info.frames) == (30, 60)
    read = numbers(read_frames(path))
    assert len(read) == 60
    assert all(number == (k if k > 30 else k - k % 3) for k, number in enumerate(read))


def test_trembling_time_stamps(tmp_path: Path) -> None:
    path = tmp_path / "phone.mp4"
    tremble = "settb=1/90000,setpts='PTS+0.012*random(1)/TB'"
    timing = ["-fps_mode", "vfr", "-enc_time_base", "1:90000", "-video_track_timescale", 90000]
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x64:r=25:d=2", "-vf", tremble, *timing, "-c:v", "libx264", path)
    info = probe(path)
    assert info.is_variable
    assert info.fps == 25
    assert abs(len(list(read_frames(path))) - 50) <= 1


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("plain.mp4", (96, 64)),
        ("rotated.mp4", (64, 96)),
        ("sar.mp4", (90, 64)),
        ("odd.webm", (97, 65)),
        ("ten.mp4", (96, 64)),
    ],
)
def test_displayed_size(shapes: Path, name: str, size: tuple[int, int]) -> None:
    info = probe(shapes / name)
    assert (info.width, info.height) == size
    assert {frame.shape for frame in read_frames(info)} == {(size[1], size[0], 3)}
    assert len(list(read_frames(info))) == info.frames == 10


def test_rotation_turns_the_picture(shapes: Path) -> None:
    plain, turned = (next(read_frames(shapes / name)).astype(int) for name in ("plain.mp4", "rotated.mp4"))
    assert np.abs(np.rot90(plain, 1) - turned).mean() < 2


def test_circle_stays_a_circle(tmp_path: Path) -> None:
    image = np.zeros((240, 256, 3), np.uint8)
    cv2.ellipse(image, (128, 120), (96, 90), 0, 0, 360, (255, 255, 255), -1)  # a circle where pixels are 15:16
    write_image(tmp_path / "stored.png", image)
    path = tmp_path / "sar.mp4"
    ffmpeg("-i", tmp_path / "stored.png", "-vf", "setsar=15/16", "-c:v", "libx264", "-pix_fmt", "yuv420p", path)
    disc = next(read_frames(path, size=128))[..., 0] > 127
    assert disc.shape == (128, 128)
    rows, columns = np.flatnonzero(disc.any(1)), np.flatnonzero(disc.any(0))
    assert abs(np.ptp(rows) - np.ptp(columns)) <= 1


def test_crop_equals_cropping_the_frames(shapes: Path) -> None:
    box = (-8, 10, 60)
    for whole, cropped in zip(
        read_frames(shapes / "plain.mp4"), read_frames(shapes / "plain.mp4", crop=box, size=32), strict=True
    ):
        assert np.array_equal(cropped, crop_resize(whole, box, 32))
    assert next(read_frames(shapes / "plain.mp4", crop=box)).shape == (60, 60, 3)


def test_one_frame(shapes: Path) -> None:
    for name in ("one.mp4", "one.gif"):
        assert probe(shapes / name).frames == 1
        assert len(list(read_frames(shapes / name))) == 1


def test_changing_resolution_keeps_the_shape(tmp_path: Path) -> None:
    parts = []
    for size in ("96x64", "64x96"):
        parts.append(tmp_path / f"{size}.ts")
        ffmpeg("-f", "lavfi", "-i", f"testsrc=s={size}:r=25:d=0.4", "-c:v", "mpeg2video", "-bf", 0, parts[-1])
    path = tmp_path / "both.mpg"
    ffmpeg("-i", f"concat:{parts[0]}|{parts[1]}", "-c", "copy", path)
    frames = list(read_frames(path))
    assert {frame.shape for frame in frames} == {(64, 96, 3)}
    assert abs(len(frames) - 20) <= 1
    assert frames[-2][:, 5].max() == 0  # the upright part is not stretched over the width


def test_transparent_gif_lies_on_the_background(tmp_path: Path) -> None:
    rgba = np.zeros((16, 16, 4), np.uint8)
    rgba[4:12, 4:12] = (0, 0, 255, 255)
    path = tmp_path / "alpha.gif"
    views = [Image.fromarray(np.roll(rgba, k, 1)) for k in range(3)]
    views[0].save(path, save_all=True, append_images=views[1:], duration=100, disposal=2)
    frame = list(read_frames(path, background=(10, 200, 30)))[1]
    assert frame[0, 0].tolist() == [10, 200, 30]
    assert frame[8, 8].tolist() == [0, 0, 255]


def test_gif_of_30_frames_a_second(tmp_path: Path) -> None:
    path = make_counting(tmp_path / "x.gif", 30, Fraction(30))
    info = probe(path)
    assert (info.fps, info.frames, info.is_variable) == (30, 30, False)
    assert numbers(read_frames(path)) == list(range(30))
    fast = make_counting(tmp_path / "fast.gif", 30, Fraction(60))
    assert probe(fast).fps == 50
    assert probe(fast).duration == pytest.approx(0.5, abs=0.02)


def test_folder_of_pictures(tmp_path: Path) -> None:
    for k, frame in enumerate(counting_frames(12)):
        write_image(tmp_path / f"view {k}.png", frame)
    (tmp_path / "notes.txt").write_text("not a picture")
    info = probe(tmp_path)
    assert (info.fps, info.frames, info.is_folder, info.has_audio) == (25, 12, True, False)
    assert numbers(read_frames(tmp_path)) == list(range(12))
    assert numbers(read_frames(tmp_path, fps=Fraction(10), start=0.3, end=0.6)) == [3, 4, 5]
    assert next(read_frames(tmp_path, size=16)).shape == (16, 16, 3)
    assert [path.name for path in list_pictures(tmp_path)][:3] == ["view 0.png", "view 1.png", "view 2.png"]
    write_image(tmp_path / "view 99.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(InputError, match="another size"):
        list(read_frames(tmp_path))


def test_bad_inputs(shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "random.webm").write_bytes(np.random.default_rng(0).bytes(4000))
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "fifo.mp4")
    (tmp_path / "folder").mkdir()
    cases = {
        shapes / "missing.mp4": "does not exist",
        tmp_path / "dangling.mp4": "does not exist",
        tmp_path / "empty.mp4": "is empty",
        tmp_path / "folder": "holds no pictures",
        tmp_path / "fifo.mp4": "not a regular file",
        Path("/dev/zero"): "not a regular file",
        tmp_path / "text.mp4": "not a whole video",
        tmp_path / "random.webm": "not a video",
        shapes / "cover.png": "not a video",
        shapes / "sound.m4a": "only sound",
        shapes / "cover.m4a": "only sound and a cover",
        tmp_path / ("n" * 300): "cannot be read",
    }
    for path, words in cases.items():
        with pytest.raises(InputError, match=words):
            probe(path)
        with pytest.raises(InputError, match=words):  # at once, not at the first frame
            read_frames(path)


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif"])
def test_cut_off_files_are_refused(tmp_path: Path, suffix: str) -> None:
    data = make_counting(tmp_path / f"whole{suffix}", 30).read_bytes()
    for tenth in (1, 3, 5, 7, 9):
        path = tmp_path / f"cut{suffix}"
        path.write_bytes(data[: len(data) * tenth // 10])
        with pytest.raises(InputError):
            list(read_frames(path))


def test_flipped_bits_end_in_frames_or_a_sentence(clip: Path, tmp_path: Path) -> None:
    data = clip.read_bytes()
    for tenth in range(0, 10, 2):
        at = len(data) * tenth // 10 + 11
        path = tmp_path / "flipped.mp4"
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x24]) + data[at + 1 :])
        try:
            assert {frame.shape for frame in read_frames(path)} == {(HEIGHT, WIDTH, 3)}
        except AnimaskError as error:
            assert error.message.endswith(".")


def test_playlists_open_nothing(clip: Path, tmp_path: Path) -> None:
    """Neither a network address nor another file on disk, whatever the file is called."""
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(0.2)
    targets = [f"http://127.0.0.1:{server.getsockname()[1]}/x.ts", f"file:{clip}", clip.name]
    (tmp_path / clip.name).write_bytes(clip.read_bytes())
    for target, name in itertools.product(targets, ("list.m3u8", "list.mp4", "list.ffconcat", "list.sdp")):
        path = tmp_path / name
        if "concat" in name:
            path.write_text(f"ffconcat version 1.0\nfile '{target}'\n")
        elif "sdp" in name:
            path.write_text("v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n")
        else:
            path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{target}\n#EXT-X-ENDLIST\n")
        with pytest.raises(InputError):
            probe(path)
        with pytest.raises(InputError), VideoWriter(tmp_path / "o.mp4", NTSC, (16, 16), audio=path):
            pass
    with pytest.raises(TimeoutError):
        server.accept()
    server.close()


@pytest.mark.parametrize("name", ["-i.mp4", "a b.mp4", "nl\n'q\".mp4", "http:x.mp4", "%d|顔😀.mp4", "é" * 125 + ".mp4"])
def test_names(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(name)
    make_counting(path, 4)
    assert numbers(read_frames(path)) == [0, 1, 2, 3]
    assert [found.name for found in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".webm"])
@pytest.mark.parametrize("start", [0.0, 0.25])
def test_sound_stays_in_time(clip: Path, tmp_path: Path, suffix: str, start: float) -> None:
    info = probe(clip)
    path = tmp_path / f"out{suffix}"
    with VideoWriter(path, info.fps, (WIDTH, HEIGHT), audio=clip, audio_start=start) as writer:
        for frame in read_frames(info, start=start):
            writer.write(frame)
    assert hear_onset(clip) == pytest.approx(0.4, abs=0.005)
    assert hear_onset(path) == pytest.approx(0.4 - start, abs=0.01)
    out = probe(path)
    assert out.has_audio
    assert out.duration == pytest.approx(info.duration - start, abs=float(1 / info.fps))


def test_sound_of_a_transport_stream_keeps_its_distance(clip: Path, tmp_path: Path) -> None:
    """Sound that begins half a second after the pictures, in a container that counts from any number."""
    late = tmp_path / "late.ts"
    ffmpeg("-i", clip, "-itsoffset", 0.2, "-i", clip, "-map", "0:v", "-map", "1:a", "-c", "copy", late)
    with VideoWriter(tmp_path / "out.mp4", NTSC, (WIDTH, HEIGHT), audio=late) as writer:
        for frame in read_frames(late):
            writer.write(frame)
    assert hear_onset(tmp_path / "out.mp4") == pytest.approx(0.6, abs=0.03)
    early = tmp_path / "early.ts"
    ffmpeg("-itsoffset", 0.2, "-i", clip, "-i", clip, "-map", "0:v", "-map", "1:a", "-c", "copy", early)
    read = numbers(read_frames(early))
    assert abs(read.count(0) - 1 - 0.2 * NTSC) <= 1.1  # held until the pictures begin
    assert read[-1] == 19


def test_sound_is_cut_to_the_pictures(tmp_path: Path) -> None:
    sound = make_beep(tmp_path / "long.wav", 0.1, 5)
    with VideoWriter(tmp_path / "out.mp4", Fraction(25), (WIDTH, HEIGHT), audio=sound) as writer:
        for frame in counting_frames(10):
            writer.write(frame)
    raw = ffmpeg("-i", tmp_path / "out.mp4", "-map", "0:a", "-ac", "1", "-f", "f32le", "-ar", 8000, "-")
    assert len(raw) / 4 / 8000 == pytest.approx(0.4, abs=0.04)


def test_silent_audio_sources_are_fine(shapes: Path, tmp_path: Path) -> None:
    for suffix, audio in ((".mp4", shapes / "plain.mp4"), (".gif", shapes / "sound.m4a"), (".webm", shapes)):
        with VideoWriter(tmp_path / f"out{suffix}", Fraction(25), (WIDTH, HEIGHT), audio=audio) as writer:
            writer.write(next(counting_frames(1)))
        assert not probe(tmp_path / f"out{suffix}").has_audio


def test_writer_refuses(tmp_path: Path, shapes: Path) -> None:
    with pytest.raises(InputError, match="suffix") as caught:
        VideoWriter(tmp_path / "x.avi", NTSC, (16, 16))
    assert ".webm" in caught.value.hint
    with pytest.raises(InputError, match="even"):
        VideoWriter(tmp_path / "x.mp4", NTSC, (17, 16))
    with pytest.raises(InputError, match="does not exist"):
        VideoWriter(tmp_path / "no" / "x.mp4", NTSC, (16, 16))
    with pytest.raises(InputError, match="does not exist"):
        VideoWriter(tmp_path / "x.mp4", NTSC, (16, 16), audio=tmp_path / "missing.wav")
    with pytest.raises(InputError, match="above 0"):
        VideoWriter(tmp_path / "x.mp4", Fraction(0), (16, 16))
    with pytest.raises(ValueError, match="uint8"), VideoWriter(tmp_path / "x.webm", NTSC, (17, 15)) as writer:
        writer.write(np.zeros((17, 15, 3), np.uint8))
    with pytest.raises(AnimaskError, match="no frames"), VideoWriter(tmp_path / "x.mp4", NTSC, (16, 16)):
        pass
    assert list(tmp_path.iterdir()) == []


def test_odd_sizes_are_kept(tmp_path: Path) -> None:
    for suffix in (".webm", ".gif", ""):
        path = tmp_path / f"odd{suffix}"
        with VideoWriter(path, Fraction(10), (33, 21)) as writer:
            writer.write(np.zeros((21, 33, 3), np.uint8))
        assert (probe(path).width, probe(path).height) == (33, 21)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_interrupted_writer_leaves_what_was_there(tmp_path: Path, suffix: str, error: type[BaseException]) -> None:
    path = tmp_path / f"out{suffix}"
    path.write_bytes(b"old")
    with pytest.raises(error), VideoWriter(path, NTSC, (WIDTH, HEIGHT)) as writer:
        writer.write(next(counting_frames(1)))
        raise error
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    assert children() == []


def children() -> list[int]:
    """Processes of ffmpeg that this process started and that still exist, zombies too."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = entry.read_text()
        except OSError:
            continue
        name, rest = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 2 :].split()
        if int(rest[1]) == os.getpid() and name.startswith("ffmpeg"):
            found.append(int(entry.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="counts processes in /proc")
def test_readers_leave_no_child(clip: Path) -> None:
    frames = read_frames(clip, size=16)
    next(frames)
    assert len(children()) == 1
    frames.close()
    assert children() == []
    frames = read_frames(clip)
    next(frames)
    del frames
    gc.collect()
    assert children() == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="counts processes in /proc")
def test_a_killed_child_is_an_error(tmp_path: Path) -> None:
    big = tmp_path / "big.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=s=1280x720:r=25:d=4", "-c:v", "libx264", "-preset", "ultrafast", big)
    frames = read_frames(big)
    next(frames)
    os.kill(children()[0], signal.SIGKILL)
    with pytest.raises(AnimaskError, match=r"broke off after .* SIGKILL"):
        list(frames)
    path = tmp_path / "out.mp4"
    with (
        pytest.raises(AnimaskError, match=r"failed after .* SIGKILL"),
        VideoWriter(path, NTSC, (WIDTH, HEIGHT)) as writer,
    ):
        os.kill(children()[0], signal.SIGKILL)
        for frame in itertools.cycle(counting_frames(5)):
            writer.write(frame)
    assert list(tmp_path.iterdir()) == [big]


LIMITED = """
import resource, sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from animask.errors import AnimaskError
from animask.video import VideoWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
rng = np.random.default_rng(0)
for name in ("out.mp4", "out.webm", "out.gif", "frames"):
    try:
        with VideoWriter(Path(sys.argv[1]) / name, Fraction(25), (64, 64)) as writer:
            for _ in range(200):
                writer.write(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    except AnimaskError as error:
        print(name, error.message)
"""


def test_a_full_disk_is_a_sentence(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["out.mp4", "out.webm", "out.gif", "frames"]
    assert all("larger than the system allows" in line or "File too large" in line for line in lines)
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from animask.video import VideoWriter
names = ("out.mp4", "frames")
writers = [VideoWriter(Path(sys.argv[1]) / name, Fraction(25), (16, 16), signature="a") for name in names]
for writer in writers:
    for k in range(5):
        writer.write(np.full((16, 16, 3), 10 * k, np.uint8))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_after_a_kill_files_are_cleaned_and_folders_continued(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], timeout=60)
    path = tmp_path / "frames"
    deadline = time.monotonic() + 20  # ffmpeg may still be about to see that nobody writes any more
    while len(left := sorted(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [name.suffix for name in left] == [".animask-partial", ".mp4"]
    assert all(name.name[0] == "." and ".animask-partial" in name.name for name in left)
    clean_partials(tmp_path)
    assert list(tmp_path.iterdir()) == left[:1]
    with VideoWriter(path, Fraction(25), (16, 16), signature="b") as other:
        assert other.done == 0
        other.write(np.full((16, 16, 3), 255, np.uint8))
    with VideoWriter(path, Fraction(25), (16, 16), signature="a") as writer:
        assert writer.done == 5
        for k in range(writer.done, 8):
            writer.write(np.full((16, 16, 3), 10 * k, np.uint8))
        assert writer.frames == 8
    assert [frame[0, 0, 0] for frame in read_frames(path)] == [0, 10, 20, 30, 40, 50, 60, 70]
    with VideoWriter(path, Fraction(25), (16, 16)) as shorter:
        shorter.write(np.zeros((16, 16, 3), np.uint8))
    assert [frame.name for frame in path.iterdir()] == ["000000.png"]
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with (
        VideoWriter(path, NTSC, (WIDTH, HEIGHT)) as first,
        VideoWriter(path, NTSC, (WIDTH, HEIGHT)) as second,
    ):
        for frame in counting_frames(4):
            first.write(frame)
            second.write(frame)
    assert numbers(read_frames(path)) == [0, 1, 2, 3]
    assert list(tmp_path.iterdir()) == [path]


def test_memory_and_handles_stay_flat(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path = tmp_path / "long.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=320x240:r=30:d=40", "-c:v", "libx264", "-preset", "ultrafast", path)
    handles, threads = len(list(Path("/proc/self/fd").iterdir())), threading.active_count()
    frames = read_frames(path)
    list(itertools.islice(frames, 100))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(1 for _ in frames) == 1100
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kB; all frames: 253,000
    assert (len(list(Path("/proc/self/fd").iterdir())), threading.active_count()) == (handles, threads)


@pytest.mark.parametrize("times", ["N*0.04+gt(N,8)*3000", "N*1000"])
def test_broken_time_stamps_are_refused(tmp_path: Path, times: str) -> None:
    """A gap that would be filled with 75,000 copies of a frame, and a frame every 1000 seconds."""
    path = tmp_path / "gap.mp4"
    stamps = [
        "-vf",
        f"settb=1/1000,setpts='({times})/TB'",
        "-fps_mode",
        "passthrough",
        "-enc_time_base",
        "1:1000",
    ]
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x64:r=25:d=0.4", *stamps, "-c:v", "libx264", path)
    with pytest.raises(InputError, match="broken time stamps"):
        probe(path)


def test_oversized_videos_are_refused(clip: Path) -> None:
    with pytest.raises(InputError, match="96×64, more than the limit of 6143 pixels"):
        probe(clip, WIDTH * HEIGHT - 1)
