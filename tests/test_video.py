"""Videos: exact rates and durations, displayed shape and colours, sound in time, whole outputs, nothing let in."""

import itertools
import resource
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from conftest import ffmpeg
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image

from animask.errors import AnimaskError, InputError
from animask.images import crop_resize, read_image, write_image
from animask.probing import Colours
from animask.video import frame_range, probe, read_frames, to_bt709, write_video

NTSC = Fraction(30000, 1001)
WIDTH, HEIGHT = 96, 64
H264 = ["-c:v", "libx264", "-pix_fmt", "yuv420p"]
TEST = ["-f", "lavfi", "-i", "testsrc=s=96x64:r=25:d=0.4"]


def counting_frames(count: int) -> Iterator[np.ndarray]:
    """Frame k is the flat grey 8 + 3 k: what is read back tells which frame it is."""
    for k in range(count):
        yield np.full((HEIGHT, WIDTH, 3), 8 + 3 * k, np.uint8)


def numbers(frames: Iterator[np.ndarray]) -> list[int]:
    return [round((float(frame.mean()) - 8) / 3) for frame in frames]


def make_counting(path: Path, count: int = 20, fps: Fraction = NTSC, sound: Path | None = None) -> Path:
    write_video(path, counting_frames(count), fps, sound, crf=4)
    return path


def hear(path: Path) -> np.ndarray:
    """The sound of a file, as a player would time it: 8000 samples a second."""
    graph = ["-af", "aresample=8000:async=1:first_pts=0", "-ac", "1", "-f", "f32le"]
    return np.frombuffer(ffmpeg("-i", path, "-map", "0:a:0", *graph, "-"), np.float32)


def hear_onset(path: Path) -> float:
    """Seconds from the start of the file to the first loud sample."""
    return float(np.argmax(np.abs(hear(path)) > 0.1)) / 8000


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """20 counting frames at 30000/1001 with five seconds of sound, silent but for a tone that starts at 0.4 s."""
    folder = tmp_path_factory.mktemp("clip")
    tone = "aevalsrc='if(gte(t,0.4),0.5*sin(2*PI*880*t),0)':s=44100:d=5"
    ffmpeg("-f", "lavfi", "-i", tone, folder / "beep.wav")
    return make_counting(folder / "clip.mp4", sound=folder / "beep.wav")


# time


@pytest.mark.parametrize("fps", [NTSC, Fraction(24000, 1001), Fraction(25), Fraction(25, 2), Fraction(240)])
@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_frame_rates_come_back_exactly(tmp_path, suffix, fps):
    info = probe(make_counting(tmp_path / f"x{suffix}", 12, fps))
    assert (info.fps, info.frames) == (fps, 12)
    assert info.duration == pytest.approx(12 / fps, abs=0.002)
    assert numbers(read_frames(info)) == list(range(12))


def test_parts_and_rates_lie_on_one_grid(clip):
    info = probe(clip)
    assert numbers(read_frames(info, first=5, stop=9)) == [5, 6, 7, 8]
    assert frame_range(info, NTSC, float(7 / NTSC), None) == (7, 20)
    halved = numbers(read_frames(info, fps=NTSC / 2))
    assert len(halved) == 10
    assert all(abs(number - 2 * k) <= 1 for k, number in enumerate(halved))
    for start, end in ((3.0, None), (0.3, 0.2), (-1.0, None)):
        with pytest.raises(InputError):
            frame_range(info, NTSC, start, end)


@pytest.mark.parametrize("suffix", [".mp4", ".ts"])
def test_late_start_in_a_long_clip(tmp_path, suffix):
    """Reading jumps to a key frame; a transport stream has no list of them."""
    path = tmp_path / f"long{suffix}"
    ffmpeg("-i", make_counting(tmp_path / "whole.mp4", 75, Fraction(25)), *H264, "-crf", 4, "-g", 30, path)
    assert numbers(read_frames(path, first=55)) == list(range(55, 75))


def test_variable_frame_rate_is_resampled_by_time(tmp_path):
    constant, path = make_counting(tmp_path / "constant.mp4", 60, Fraction(30)), tmp_path / "variable.mp4"
    ffmpeg("-i", constant, "-vf", "select='not(mod(n,3))+gt(n,30)'", "-fps_mode", "vfr", "-crf", 4, path)
    info = probe(path)
    assert (info.fps, info.frames) == (30, 60)
    assert numbers(read_frames(path)) == [k if k > 30 else k - k % 3 for k in range(60)]


def test_trembling_time_stamps(tmp_path):
    path = tmp_path / "phone.mp4"
    tremble = "settb=1/90000,setpts='PTS+0.012*random(1)/TB'"
    timing = ["-fps_mode", "vfr", "-enc_time_base", "1:90000", "-video_track_timescale", 90000]
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x64:r=25:d=2", "-vf", tremble, *timing, *H264, path)
    assert probe(path).fps == 25
    assert abs(len(list(read_frames(path))) - 50) <= 1


@pytest.mark.parametrize("times", ["N*0.04+gt(N,8)*3000", "N*1000"])
def test_broken_time_stamps_are_refused(tmp_path, times):
    """A gap that would be filled with 75,000 copies of a frame, and a frame every 1000 seconds."""
    stamps = ["-vf", f"settb=1/1000,setpts='({times})/TB'", "-fps_mode", "passthrough", "-enc_time_base", "1:1000"]
    ffmpeg(*TEST, *stamps, *H264, tmp_path / "gap.mp4")
    with pytest.raises(InputError, match="time stamps"):
        probe(tmp_path / "gap.mp4")


# shape


@pytest.mark.parametrize(
    ("options", "name", "size"),
    [
        (H264, "plain.mp4", (96, 64)),
        (["-vf", "setsar=15/16", *H264], "sar.mp4", (90, 64)),
        (["-vf", "scale=97:65,setsar=1", "-c:v", "libvpx-vp9"], "odd.webm", (97, 65)),
        (["-c:v", "libx264", "-pix_fmt", "yuv420p10le"], "ten.mp4", (96, 64)),
        (["-c:v", "mpeg4"], "phone.3gp", (96, 64)),
        (["-c:v", "libx264", "-bsf:v", "h264_mp4toannexb"], "bare.h264", (96, 64)),
    ],
)
def test_displayed_size(tmp_path, options, name, size):
    ffmpeg(*TEST, *options, tmp_path / name)
    info = probe(tmp_path / name)
    assert (info.width, info.height, info.frames) == (*size, 10)
    frames = list(read_frames(info))
    assert ({frame.shape for frame in frames}, len(frames)) == ({(size[1], size[0], 3)}, 10)


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("flip", [[], ["-display_hflip"]])
def test_rotation_turns_the_picture(tmp_path, turn, flip):
    """All eight display matrices; ffmpeg's own reading of them is the answer."""
    ffmpeg(*TEST, *H264, tmp_path / "plain.mp4")
    ffmpeg("-display_rotation", turn, *flip, "-i", tmp_path / "plain.mp4", "-c", "copy", tmp_path / "turned.mp4")
    raw = ffmpeg("-i", tmp_path / "turned.mp4", "-frames:v", 1, "-pix_fmt", "rgb24", "-f", "rawvideo", "-")
    frame = next(read_frames(tmp_path / "turned.mp4"))
    assert frame.shape == ((96, 64, 3) if turn in (90, 270) else (64, 96, 3))
    shown = np.frombuffer(raw, np.uint8).reshape(frame.shape)
    assert np.abs(frame.astype(int) - shown).mean() < 10  # sharp colours are halved in another way


def test_crop_equals_cropping_the_frames(tmp_path):
    ffmpeg(*TEST, *H264, tmp_path / "x.mp4")
    box, centre = (-8, 10, 60), (16, 0, 64)
    whole = next(read_frames(tmp_path / "x.mp4"))
    assert np.array_equal(next(read_frames(tmp_path / "x.mp4", crop=box, size=32)), crop_resize(whole, box, 32))
    assert np.array_equal(next(read_frames(tmp_path / "x.mp4", size=32)), crop_resize(whole, centre, 32))


def test_changing_resolution_keeps_the_shape(tmp_path):
    parts = [tmp_path / "96x64.ts", tmp_path / "64x96.ts"]
    for part in parts:
        ffmpeg("-f", "lavfi", "-i", f"testsrc=s={part.stem}:r=25:d=0.4", "-c:v", "mpeg2video", "-bf", 0, part)
    ffmpeg("-i", f"concat:{parts[0]}|{parts[1]}", "-c", "copy", tmp_path / "both.mpg")
    frames = list(read_frames(tmp_path / "both.mpg"))
    assert {frame.shape for frame in frames} == {(64, 96, 3)}
    assert abs(len(frames) - 20) <= 1
    assert frames[-2][:, 5].max() == 0  # the upright part is not stretched over the width


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mbaff.mp4", ["-c:v", "libx264", "-x264-params", "tff=1"]),
        ("mpeg2.ts", ["-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-q:v", 2]),
        ("container.mov", ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-field_order", "tt"]),
        ("progressive.mp4", ["-vf", "setfield=prog", "-c:v", "libx264"]),
    ],
)
def test_interlaced_frames_are_made_whole(tmp_path, name, options):
    """A white bar that moves 8 pixels from field to field."""
    fields = "color=black:s=128x64:r=50:d=0.4,format=gray,geq=lum='255*between(X-8*N,20,40)',format=yuv420p"
    ffmpeg("-f", "lavfi", "-i", f"{fields},tinterlace=interleave_top,setfield=tff", *options, tmp_path / name)
    frames = np.stack(list(read_frames(tmp_path / name)))[..., 1].astype(float)
    assert len(frames) == 10
    combing = np.diff(frames[2:8], 2, axis=1)  # how much rows differ from both of their neighbours, which agree
    assert (np.abs(combing).mean() > 20) == ("progressive" in name)


# colours


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".m4v", ".webm", ".gif", ""])
def test_colours_and_sizes_survive(tmp_path, suffix):
    """One frame; H.264 cannot have odd sizes."""
    colours = [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)]
    colours += [(200, 120, 90), (30, 60, 90)]
    image = np.repeat(np.repeat(np.array(colours, np.uint8).reshape(2, 4, 3), 32, 0), 32, 1)
    image = image if suffix in (".mp4", ".mov", ".m4v") else image[:-1, :-1]
    write_video(tmp_path / f"out{suffix}", [image], Fraction(10))
    (frame,) = read_frames(tmp_path / f"out{suffix}")
    assert np.abs(frame.astype(int) - image)[16::32, 16::32].max() <= 3


UNKNOWN = "color_primaries=unknown:color_trc=unknown:colorspace=unknown"
SKIN = np.array([0.78, 0.59, 0.51])


@pytest.mark.parametrize(
    ("matrix", "tags", "colours"),
    [
        ("bt601", "color_primaries=smpte170m:color_trc=smpte170m:colorspace=smpte170m", Colours()),
        ("bt601", UNKNOWN, Colours()),  # a small picture
        ("bt709", "color_primaries=bt709:color_trc=bt709:colorspace=unknown", Colours()),
        ("bt2020", "color_primaries=unknown:color_trc=smpte2084:colorspace=unknown", Colours(9, 16)),
        ("bt2020", "color_primaries=unknown:color_trc=arib-std-b67:colorspace=unknown", Colours(9, 18)),
        ("bt2020", "color_primaries=unknown:color_trc=unknown:colorspace=bt2020nc", Colours(9)),
        ("bt709", "color_primaries=smpte432:color_trc=bt709:colorspace=unknown", Colours(12)),
    ],
)
def test_colours_follow_the_tags(tmp_path, matrix, tags, colours):
    """The colour of skin: what tags leave out is what belongs to what they say; plain BT.709 and BT.601 stay."""
    write_image(tmp_path / "x.png", np.full((64, 64, 3), np.round(SKIN * 255), np.uint8))
    graph = f"scale=out_color_matrix={matrix}:out_range=tv,format=yuv420p10le,setparams={tags}"
    ffmpeg("-loop", 1, "-t", 0.2, "-i", tmp_path / "x.png", "-vf", graph, "-c:v", "libx264", tmp_path / "x.mp4")
    frame = next(read_frames(tmp_path / "x.mp4"))
    wanted = SKIN if colours == Colours() else to_bt709(SKIN, colours)
    assert frame[32, 32] == pytest.approx(255 * wanted, abs=4)


def test_conversions_of_colours_by_hand():
    grey = np.full(3, 0.5)
    for primaries in (9, 12):  # white is the same in BT.2020 and P3
        assert to_bt709(grey, Colours(primaries)) == pytest.approx(grey, abs=1e-4)
    green = to_bt709(np.array([0.0, 1.0, 0.0]), Colours(12))
    assert green == pytest.approx([0, 1, 0])  # outside BT.709: as green as it gets
    for coded, curve in ((0.58069, 16), (0.75, 18)):  # 203 nits in PQ and HLG: light of 1, compressed by (1 + 1³)^⅓
        assert to_bt709(np.full(3, coded), Colours(9, curve)) == pytest.approx(2 ** (-1 / 7.2), abs=0.002)
    dark = to_bt709(np.full(3, 0.3001), Colours(9, 16))  # 10 nits: not compressed
    assert dark == pytest.approx((10 / 203) ** (1 / 2.4), abs=0.002)


# animated pictures, folders, transparency


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".avif"])
def test_animated_pictures_give_all_frames_and_their_delays(tmp_path, suffix):
    """Browsers show what lasts 10 ms or less for 100 ms, but for AVIF."""
    first, *others = map(Image.fromarray, counting_frames(6))
    options = {"quality": 100} if suffix == ".avif" else {"lossless": True} if suffix == ".webp" else {}
    delays = [100, 100, 200, 100, 100, 100 if suffix == ".avif" else 10]
    path = tmp_path / f"x{suffix}"
    first.save(path, save_all=True, append_images=others, duration=delays, **options)
    info = probe(path)
    assert (info.fps, info.frames, info.duration) == (10, 7, pytest.approx(0.7))
    assert numbers(read_frames(path)) == [0, 1, 2, 2, 3, 4, 5]
    assert numbers([read_image(path)]) == [0]


@pytest.mark.parametrize(("written", "read"), [(30, 30), (60, 50)])
def test_a_gif_keeps_its_time(tmp_path, written, read):
    """It counts in hundredths of a second, and viewers slow down what is faster than 50 frames a second."""
    info = probe(make_counting(tmp_path / "x.gif", 30, Fraction(written)))
    assert (info.fps, info.duration) == (read, pytest.approx(30 / written, abs=0.02))


def test_folder_of_pictures(tmp_path):
    for k, frame in enumerate(counting_frames(12)):
        write_image(tmp_path / f"view {k}.png", frame)
    (tmp_path / "notes.txt").write_text("not a picture")
    info = probe(tmp_path)
    assert (info.fps, info.frames, info.has_audio) == (25, 12, False)
    assert numbers(read_frames(info)) == list(range(12))
    assert numbers(read_frames(info, fps=Fraction(10), first=3, stop=6)) == [3, 4, 5]
    write_image(tmp_path / "view 99.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(InputError, match="another size"):
        list(read_frames(tmp_path))


@pytest.mark.parametrize("name", ["vp9.webm", "vp8.webm", "x.mov", ""])
def test_transparent_frames_lie_on_the_background(tmp_path, name):
    """Of videos, and of pictures in a folder."""
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[..., 0] = 255  # red where nothing is to be seen
    rgba[16:48, 16:48] = (0, 0, 255, 255)
    for k in range(3):
        Image.fromarray(np.roll(rgba, 2 * k, 1)).save(tmp_path / f"{k}.png")
    codec = {"vp9.webm": "libvpx-vp9", "vp8.webm": "libvpx", "x.mov": "qtrle"}.get(name)
    if codec:
        pixels = "argb" if codec == "qtrle" else "yuva420p"
        ffmpeg("-i", tmp_path / "%d.png", "-pix_fmt", pixels, "-c:v", codec, "-auto-alt-ref", 0, tmp_path / name)
    frame = list(read_frames(tmp_path / name, background=(10, 200, 30)))[1]
    assert frame[4, 4] == pytest.approx([10, 200, 30], abs=6)
    assert frame[32, 32] == pytest.approx([0, 0, 255], abs=6)


def test_the_default_streams_are_taken(clip, tmp_path):
    """Two pictures and two sounds, of which the second ones are marked; and a cover before all."""
    path, cover = tmp_path / "two.mkv", tmp_path / "cover.mp4"
    ffmpeg(*TEST, "-f", "lavfi", "-i", "sine=d=0.6", *H264, tmp_path / "first.mp4")
    streams = ["-map", "0:v", "-map", "1:v", "-map", "0:a", "-map", "1:a", "-c", "copy"]
    marks = ["-disposition:v:0", "0", "-disposition:a:0", "comment", "-disposition:v:1", "default"]
    ffmpeg("-i", tmp_path / "first.mp4", "-i", clip, *streams, *marks, "-disposition:a:1", "default", path)
    write_image(tmp_path / "cover.png", np.zeros((32, 32, 3), np.uint8))
    attached = ["-map", 0, "-map", 1, "-c", "copy", "-disposition:v:0", "attached_pic"]
    ffmpeg("-i", tmp_path / "cover.png", "-i", clip, *attached, cover)
    for source in (path, cover):
        assert numbers(read_frames(source)) == list(range(20))
        assert hear_onset(make_counting(tmp_path / "out.mp4", sound=source)) == pytest.approx(0.4, abs=0.01)


# what is refused


def test_sound_alone_and_a_picture_too_large_are_refused(clip, sound, monkeypatch):
    """Further bad inputs in test_files and test_safety."""
    with pytest.raises(InputError):
        read_frames(sound)  # at once, not at the first frame
    monkeypatch.setattr("animask.images.MAX_PIXELS", WIDTH * HEIGHT - 1)
    with pytest.raises(InputError, match="96×64"):
        probe(clip)


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif"])
def test_cut_off_files_are_refused(tmp_path, suffix):
    data = make_counting(tmp_path / f"whole{suffix}", 30).read_bytes()
    for tenth in (1, 3, 5, 7, 9):
        path = tmp_path / f"cut{suffix}"
        path.write_bytes(data[: len(data) * tenth // 10])
        with pytest.raises(InputError):
            list(read_frames(path))


def test_flipped_bits_end_in_frames_or_a_sentence(clip, tmp_path):
    data, path = clip.read_bytes(), tmp_path / "flipped.mp4"
    for at in range(11, len(data), len(data) // 10):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x24]) + data[at + 1 :])
        with suppress(AnimaskError):
            assert {frame.shape for frame in read_frames(path)} == {(HEIGHT, WIDTH, 3)}


def test_nothing_else_is_opened(clip, tmp_path):
    """Neither a network address nor another file on disk, whatever the file is called."""
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(0.2)
    address = f"http://127.0.0.1:{server.getsockname()[1]}/x.ts"
    (tmp_path / clip.name).write_bytes(clip.read_bytes())
    for target in (address, f"file:{clip}", clip.name):
        playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{target}\n#EXT-X-ENDLIST\n"
        texts = {"a.m3u8": playlist, "a.mp4": playlist, "a.ffconcat": f"ffconcat version 1.0\nfile '{target}'\n"}
        for name, text in texts.items():
            (tmp_path / name).write_text(text)
            with pytest.raises(InputError):
                probe(tmp_path / name)
            with pytest.raises(InputError):
                make_counting(tmp_path / "o.mp4", sound=tmp_path / name)
    with pytest.raises(TimeoutError):
        server.accept()
    server.close()


def test_memory_stays_flat(tmp_path):
    path = tmp_path / "long.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=320x240:r=30:d=40", *H264, "-preset", "ultrafast", path)
    frames = read_frames(path)
    list(itertools.islice(frames, 100))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(1 for _ in frames) == 1100
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kB; all frames: 253,000


# writing


def test_h264_is_tagged_and_starts_fast(clip):
    said = subprocess.run([get_ffmpeg_exe(), "-hide_banner", "-i", clip], capture_output=True, text=True).stderr
    assert "yuv420p(tv, bt709, progressive)" in said
    data = clip.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".webm"])
@pytest.mark.parametrize("first", [0, 8])
def test_sound_stays_in_time(clip, tmp_path, suffix, first):
    info, path, start = probe(clip), tmp_path / f"out{suffix}", float(first / NTSC)
    write_video(path, read_frames(info, first=first), info.fps, clip, start)
    assert hear_onset(path) == pytest.approx(0.4 - start, abs=0.01)
    assert len(hear(path)) / 8000 == pytest.approx(info.duration - start, abs=0.04)
    assert probe(path).duration == pytest.approx(info.duration - start, abs=float(1 / info.fps))


def test_sound_of_a_transport_stream_keeps_its_distance(clip, tmp_path):
    """Sound or pictures that begin later than the other, in a container that counts from any number."""
    late, early = tmp_path / "late.ts", tmp_path / "early.ts"
    streams = ["-map", "0:v", "-map", "1:a", "-c", "copy"]
    ffmpeg("-i", clip, "-itsoffset", 0.2, "-i", clip, *streams, late)
    make_counting(tmp_path / "out.mp4", sound=late)
    assert hear_onset(tmp_path / "out.mp4") == pytest.approx(0.6, abs=0.03)
    ffmpeg("-itsoffset", 0.2, "-i", clip, "-i", clip, *streams, early)
    read = numbers(read_frames(early))
    assert abs(read.count(0) - 1 - 0.2 * NTSC) <= 1.1  # held until the pictures begin
    assert read[-1] == 19


def test_silent_sources_of_sound_are_fine(clip, tmp_path):
    ffmpeg(*TEST, *H264, tmp_path / "plain.mp4")
    for suffix, sound in ((".mp4", tmp_path / "plain.mp4"), (".gif", clip), (".webm", tmp_path)):
        assert not probe(make_counting(tmp_path / f"out{suffix}", 2, sound=sound)).has_audio


@pytest.mark.parametrize(
    ("name", "widths", "sound", "words"),
    [
        ("x.avi", [16], None, "suffix"),
        ("x.mp4", [17], None, "even"),
        ("no/x.mp4", [16], None, "does not exist"),
        ("x.mp4", [16], "missing.wav", "missing.wav"),
        ("x.webm", [16, 17], None, "uint8"),
        ("x.mp4", [], None, "no frames"),
    ],
)
def test_writer_refuses(tmp_path, name, widths, sound, words):
    frames = [np.zeros((16, width, 3), np.uint8) for width in widths]
    with pytest.raises((AnimaskError, ValueError), match=words):
        write_video(tmp_path / name, frames, NTSC, sound and tmp_path / sound)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ""])
def test_what_is_there_is_replaced_by_a_whole_video_and_on_demand_only(clip, tmp_path, suffix):
    path = make_counting(tmp_path / f"out{suffix}", 3)

    def interrupted() -> Iterator[np.ndarray]:
        yield from counting_frames(10)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(path, interrupted(), NTSC, clip)
    with pytest.raises(InputError, match="exists"):
        write_video(path, counting_frames(1), NTSC, overwrite=False)
    assert numbers(read_frames(path)) == [0, 1, 2]
    assert list(tmp_path.iterdir()) == [path]


def test_a_shorter_folder_replaces_a_longer_one(tmp_path):
    path = make_counting(tmp_path / "frames", 5)
    (path / "notes.txt").touch()
    make_counting(path, 2)
    assert sorted(item.name for item in path.iterdir()) == ["000000.png", "000001.png", "notes.txt"]
