"""Bad and odd inputs by the hundred, made by code from a seed, and what a command must do with each.

A case is a file in some role (the picture, the driver, weights, a recipe ...). `make` writes it into a folder and
says where it is; `codes` are the exit codes that the documentation allows for it.
"""

import os
import random
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import wave
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from animask.cli import main
from animask.toons import pose_at, render, sample_identity
from animask.video.ffmpeg import program

SEED = 8
SECONDS = 60  # of a case before it counts as hanging
MEGABYTES = 600  # that all cases together may add to the memory of this process; of each ffmpeg child
TENTHS = range(10)
FEW = ["-q", "--device", "cpu", "--precision", "fp32", "--source-crop", "centre", "--driver-crop", "centre"]
UNREADABLE = frozenset({2})
READABLE = frozenset({0})
EITHER = frozenset({0, 2})  # damage that may not show
ANY = frozenset({0, 1, 2})  # damage that may show after the first frames


@dataclass(frozen=True)
class Case:
    """A file in a role, the exit codes that are right for it, and words that the sentence must have."""

    name: str
    role: str
    make: Callable[["Samples", Path], Path]
    codes: frozenset[int]
    words: str = ""

    @property
    def id(self) -> str:
        return f"{self.role}-{self.name}"


@dataclass(frozen=True)
class Samples:
    """Good files: a folder with picture.png, .jpg, .webp, .gif, driver.mp4, .webm, .gif, sound.wav, recipe.toml,
    pairs.csv, boxes.csv and weights.safetensors.
    """

    folder: Path

    def path(self, name: str) -> Path:
        return self.folder / name

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


def ffmpeg(*arguments: object) -> None:
    """Run ffmpeg, to make a file."""
    command = [program(), "-nostdin", "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def make_samples(folder: Path, weights: Path) -> Samples:
    """All good files, in one folder."""
    picture = Image.fromarray(render(sample_identity(1), pose_at(1, 0.0), 96))
    for suffix, options in (("png", {}), ("jpg", {"quality": 92}), ("webp", {"lossless": True}), ("gif", {})):
        picture.save(folder / f"picture.{suffix}", **options)
    source = ["-f", "lavfi", "-i", "testsrc=s=80x64:r=10:d=0.5", "-bitexact"]
    ffmpeg(*source, "-f", "lavfi", "-i", "sine=d=0.5", "-pix_fmt", "yuv420p", folder / "driver.mp4")
    ffmpeg(*source, "-c:v", "libvpx-vp9", folder / "driver.webm")
    ffmpeg(*source, folder / "driver.gif")
    with wave.open(str(folder / "sound.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes((8000 * np.sin(np.arange(8000) / 6)).astype("<i2").tobytes())
    shutil.copy(weights, folder / "weights.safetensors")
    (folder / "recipe.toml").write_text(
        '# a recipe\npreset = "tiny"\ndataset = "toons"\n\n[model]\nwidth = 4\ncuts = [0.25, 0.75]\n\n'
        '[train]\nbatch = 2\nsteps = 3\nlr = 2e-4\nperceptual = "pixels"\nseed = 7\nscales = [1, 2, 4]\n'
    )
    (folder / "pairs.csv").write_text(
        f"source,driver,output\n{folder / 'picture.png'},{folder / 'driver.mp4'},one.mp4\n"
        f"{folder / 'picture.jpg'},{folder / 'driver.mp4'},two.mp4\n"
    )
    (folder / "boxes.csv").write_text(
        "video_id,start,end,bbox,fps,width,height,person_id,partition\ndriver,0,5,0-0-64-64,10,80,64,someone,train\n"
    )
    return Samples(folder)


# damage: at every tenth of every kind of file


def cut(name: str, tenth: int, samples: Samples, folder: Path) -> Path:
    """The first tenths of a file."""
    data = samples.read(name)
    return write(folder / f"cut{Path(name).suffix}", data[: len(data) * tenth // 10])


def flip(name: str, tenth: int, samples: Samples, folder: Path) -> Path:
    """A file with three bits flipped within one tenth."""
    data = bytearray(samples.read(name))
    chance = random.Random(f"{SEED} {name} {tenth}")
    first, last = len(data) * tenth // 10, len(data) * (tenth + 1) // 10 - 1
    for at in (first, chance.randint(first, last), chance.randint(first, last)):
        data[at] ^= 1 << chance.randrange(8)
    return write(folder / f"flipped{Path(name).suffix}", bytes(data))


DAMAGED = {
    "picture.png": "source",
    "picture.jpg": "source",
    "picture.webp": "source",
    "picture.gif": "source",
    "driver.mp4": "driver",
    "driver.webm": "driver",
    "driver.gif": "driver",
    "sound.wav": "driver",
    "weights.safetensors": "weights",
    "recipe.toml": "recipe",
    "pairs.csv": "pairs",
    "boxes.csv": "boxes",
}


def damaged() -> Iterator[Case]:
    for name, role in DAMAGED.items():
        text = name.endswith((".toml", ".csv"))  # of which a part may be a whole
        for tenth in TENTHS:
            codes = ANY if text else UNREADABLE
            yield Case(f"{name}-cut-{tenth}", role, partial(cut, name, tenth), codes)
            codes = UNREADABLE if name == "sound.wav" else ANY
            yield Case(f"{name}-flipped-{tenth}", role, partial(flip, name, tenth), codes)


# what is no file of the right kind, in every role


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def make_link(to: str, samples: Samples, folder: Path) -> Path:
    (folder / "link").symlink_to(to)
    return folder / "link"


def make_fifo(samples: Samples, folder: Path) -> Path:
    os.mkfifo(folder / "fifo")
    return folder / "fifo"


def make_socket(samples: Samples, folder: Path) -> Path:
    here = Path.cwd()
    os.chdir(folder)  # the path of a socket has about a hundred bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    os.chdir(here)
    return folder / "socket"


def make_folder(samples: Samples, folder: Path) -> Path:
    (folder / "folder").mkdir()
    return folder / "folder"


def literal(data: bytes, name: str, samples: Samples, folder: Path) -> Path:
    return write(folder / name, data)


def copied(name: str, to: str, samples: Samples, folder: Path) -> Path:
    return Path(shutil.copy(samples.path(name), folder / to))


ROLES = ("source", "driver", "weights", "recipe", "pairs", "boxes")
SUFFIXES = dict(zip(ROLES, (".png", ".mp4", ".safetensors", ".toml", ".csv", ".csv"), strict=True))
OTHERS = dict(
    zip(ROLES, ("driver.mp4", "picture.png", "picture.jpg", "driver.webm", "sound.wav", "picture.gif"), strict=True)
)
MISSING = {role: frozenset({3 if role == "weights" else 2}) for role in ROLES}


def misfits() -> Iterator[Case]:
    """Files of the wrong kind, and what is no file."""
    noise = random.Random(SEED).randbytes(5000)
    for role, suffix in SUFFIXES.items():
        for name, data in (("empty", b""), ("noise", noise), ("nul", b"\0" * 3000), ("text", b"hello\n" * 200)):
            yield Case(name, role, partial(literal, data, f"{name}{suffix}"), UNREADABLE)
        yield Case("other-kind", role, partial(copied, OTHERS[role], f"other{suffix}"), UNREADABLE)
        yield Case("folder", role, make_folder, UNREADABLE)
        yield Case("fifo", role, make_fifo, UNREADABLE)
        yield Case("socket", role, make_socket, UNREADABLE)
        yield Case("endless-device", role, lambda samples, folder: Path("/dev/zero"), UNREADABLE)
        yield Case("empty-device", role, lambda samples, folder: Path("/dev/null"), UNREADABLE)
        yield Case("dangling-link", role, partial(make_link, "nowhere"), MISSING[role])
        yield Case("link-to-itself", role, partial(make_link, "link"), MISSING[role] | UNREADABLE)
        yield Case("missing", role, lambda samples, folder: folder / "missing", MISSING[role])
        yield Case("name-too-long", role, lambda samples, folder: folder / ("n" * 300), MISSING[role] | UNREADABLE)
        yield Case("below-a-file", role, lambda samples, folder: samples.path("picture.png") / "x", MISSING[role])


# odd pictures


def picture(height: int, width: int, samples: Samples, folder: Path) -> Path:
    image = np.random.default_rng(SEED).integers(0, 256, (height, width, 3)).astype(np.uint8)
    cv2.imwrite(str(folder / "odd.png"), image)
    return folder / "odd.png"


def converted(mode: str, suffix: str, options: dict[str, Any], samples: Samples, folder: Path) -> Path:
    """The picture in another mode; "wide": 16 bits."""
    path = folder / f"odd{suffix}"
    if mode == "wide":
        cv2.imwrite(str(path), cv2.imread(str(samples.path("picture.png"))).astype(np.uint16) * 257)
    else:
        Image.open(samples.path("picture.png")).convert(mode).save(path, **options)
    return path


def turned(orientation: int, samples: Samples, folder: Path) -> Path:
    exif = Image.Exif()
    exif[274] = orientation
    Image.open(samples.path("picture.png")).save(folder / "turned.jpg", exif=exif)
    return folder / "turned.jpg"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bombs() -> dict[str, bytes]:
    """Small files whose header promises 30000 × 30000 pixels."""
    side = 30_000
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    jpeg = b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 17, 8, side, side, 3) + bytes([1, 17, 0, 2, 17, 1, 3, 17, 1])
    tags = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in ((256, side), (257, side)))
    siz = struct.pack(">HHIIIIIIIIH", 38 + 3 * 3, 0, side, side, 0, 0, side, side, 0, 0, 3) + bytes([7, 1, 1] * 3)
    ihdr = b"ihdr" + struct.pack(">IIHBBBB", 16, 16, 3, 7, 7, 0, 0)  # which says 16 × 16
    boxes = b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 \0\0\0\0jp2 \0\0\0\x1ejp2h\0\0\0\x16" + ihdr
    return {
        "png": b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 9000)) + chunk(b"IEND", b""),
        "jpg": jpeg + b"\xff\xda\0\x0c\3\1\0\2\x11\3\x11\0\x3f\0" + b"\0" * 100 + b"\xff\xd9",
        "gif": b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0)
        + b"\0" * 6 + b"\x2c" + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x02\x02\x44\x01\0;",
        "webp": b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0"
        + (side - 1).to_bytes(3, "little") * 2 + b"\0" * 8,
        "bmp": b"BM" + struct.pack("<IIIIiiHHIIiiII", 1000, 0, 54, 40, side, side, 1, 24, *[0] * 6) + b"\0" * 946,
        "tif": b"II*\0" + struct.pack("<IH", 8, 2) + tags + b"\0" * 100,
        "ppm": b"P6 30000 30000 255\n" + b"\0" * 1000,
        "jp2": boxes + b"\0\0\0\0jp2c\xff\x4f\xff\x51" + siz + b"\0" * 200,
    }  # fmt: skip


def odd_pictures() -> Iterator[Case]:
    for height, width in ((1, 1), (1, 5000), (5000, 1), (2, 3), (97, 61), (64, 64)):
        yield Case(f"{width}x{height}", "source", partial(picture, height, width), READABLE)
    modes: list[tuple[str, str, dict[str, Any]]] = [("wide", ".png", {}), ("CMYK", ".jpg", {}), ("1", ".png", {})]
    modes += [("RGBA", ".png", {}), ("P", ".png", {"transparency": 0}), ("L", ".bmp", {}), ("RGB", ".tif", {})]
    for mode, suffix, options in modes:
        yield Case(f"{mode}{suffix}", "source", partial(converted, mode, suffix, options), READABLE)
    for orientation in (3, 6, 8, 200):
        yield Case(f"turned-{orientation}", "source", partial(turned, orientation), READABLE)
    for suffix, data in bombs().items():
        words = "30000×30000"
        yield Case(f"bomb.{suffix}", "source", partial(literal, data, f"bomb.{suffix}"), UNREADABLE, words)
        yield Case(f"bomb-in-a-folder.{suffix}", "driver", partial(bomb_folder, data, suffix), UNREADABLE)


def bomb_folder(data: bytes, suffix: str, samples: Samples, folder: Path) -> Path:
    """A folder of pictures of which the first is a bomb."""
    (folder / "pictures").mkdir()
    write(folder / "pictures" / f"1.{suffix}", data)
    return folder / "pictures"


# odd videos

TEST = ("-f", "lavfi", "-i", "testsrc=s=80x64:r=10:d=0.4")
H264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p")
STAMPS = ("-fps_mode", "passthrough", "-enc_time_base", "1:1000", "-video_track_timescale", 1000)
TONE = ("-f", "lavfi", "-i", "sine=d=0.4")
HDR = ("-c:v", "libx264", "-pix_fmt", "yuv420p10le", "-color_primaries", "bt2020", "-colorspace", "bt2020nc")

VIDEOS: dict[str, tuple[object, ...]] = {
    "one-frame.mp4": (*TEST, "-frames:v", 1, *H264),
    "one-frame.gif": (*TEST, "-frames:v", 1),
    "two-frames.webm": (*TEST, "-frames:v", 2, "-c:v", "libvpx-vp9"),
    "240-fps.mp4": ("-f", "lavfi", "-i", "testsrc=s=80x64:r=240:d=0.05", *H264),
    "1-fps.mp4": ("-f", "lavfi", "-i", "testsrc=s=80x64:r=1:d=3", *H264),
    "ntsc.mp4": ("-f", "lavfi", "-i", "testsrc=s=80x64:r=30000/1001:d=0.2", *H264),
    "negative-stamps.mp4": (*TEST, "-vf", "setpts=PTS-0.2/TB", *H264, *STAMPS, "-avoid_negative_ts", "disabled"),
    "negative-stamps.mkv": (*TEST, "-vf", "setpts=PTS-0.2/TB", *H264, "-avoid_negative_ts", "disabled"),
    "late-stamps.ts": (*TEST, "-c:v", "mpeg2video", "-output_ts_offset", 5000),
    "variable-rate.mp4": (*TEST, "-vf", "settb=1/1000,setpts='(N*100+40*mod(N,2))'", *H264, *STAMPS),
    "gap.mp4": (*TEST, "-vf", "settb=1/1000,setpts='(N*40+gt(N,2)*3000000)'", *H264, *STAMPS),
    "odd-size.webm": ("-f", "lavfi", "-i", "testsrc=s=81x63:r=10:d=0.3", "-c:v", "libvpx-vp9"),
    "tiny-size.webm": ("-f", "lavfi", "-i", "testsrc=s=1x1:r=10:d=0.3", "-c:v", "libvpx-vp9"),
    "thin.webm": ("-f", "lavfi", "-i", "testsrc=s=2x1000:r=10:d=0.3", "-c:v", "libvpx-vp9"),
    "ten-bits.mp4": (*TEST, "-c:v", "libx264", "-pix_fmt", "yuv420p10le"),
    "hdr-pq.mp4": (*TEST, *HDR, "-color_trc", "smpte2084"),
    "hdr-hlg.mp4": (*TEST, *HDR, "-color_trc", "arib-std-b67"),
    "full-colour.mp4": (*TEST, "-c:v", "libx264", "-pix_fmt", "yuv444p"),
    "grey.mkv": (*TEST, "-c:v", "ffv1", "-pix_fmt", "gray"),
    "stretched-pixels.mp4": (*TEST, "-vf", "setsar=4/3", *H264),
    "interlaced.mpg": (*TEST, "-r", 25, "-c:v", "mpeg2video", "-flags", "+ilme+ildct"),
    "motion-jpeg.avi": (*TEST, "-c:v", "mjpeg"),
    "transparent.webm": (*TEST, "-vf", "format=yuva420p,geq=lum=128:a=X", "-c:v", "libvpx-vp9"),
    "two-streams.mkv": (*TEST, *TEST, "-map", 0, "-map", 1, *H264),
    "late-sound.mp4": (*TEST, "-itsoffset", 0.3, *TONE, *H264),
    "surround.mp4": (*TEST, "-f", "lavfi", "-i", "anoisesrc=d=0.4", "-ac", 6, *H264),
}  # fmt: skip
SILENT = {"sound.m4a": TONE, "sound.mp3": TONE, "sound.ogg": (*TONE, "-c:a", "libvorbis"), "sound.flac": TONE}


def encoded(name: str, samples: Samples, folder: Path) -> Path:
    ffmpeg(*{**VIDEOS, **SILENT}[name], folder / name)
    return folder / name


def rotated(degrees: int, samples: Samples, folder: Path) -> Path:
    ffmpeg("-display_rotation", degrees, "-i", samples.path("driver.mp4"), "-c", "copy", folder / "rotated.mp4")
    return folder / "rotated.mp4"


def cover_only(samples: Samples, folder: Path) -> Path:
    ffmpeg(*TONE, folder / "sound.m4a")
    cover = ["-map", 0, "-map", 1, "-c", "copy", "-disposition:v:0", "attached_pic"]
    ffmpeg("-i", folder / "sound.m4a", "-i", samples.path("picture.png"), *cover, folder / "cover.m4a")
    (folder / "sound.m4a").unlink()
    return folder / "cover.m4a"


def no_frames(samples: Samples, folder: Path) -> Path:
    """A video whose only stream has no frame."""
    ffmpeg(*TEST, *H264, "-t", 0.1, "-movflags", "empty_moov+frag_custom", folder / "whole.mp4")
    data = (folder / "whole.mp4").read_bytes()
    (folder / "whole.mp4").unlink()
    return write(folder / "none.mp4", data[: data.index(b"moof") - 4] if b"moof" in data else data)


def changing_size(samples: Samples, folder: Path) -> Path:
    data = b""
    for size in ("96x64", "64x96"):
        part = folder / f"{size}.mpg"
        ffmpeg("-f", "lavfi", "-i", f"testsrc=s={size}:r=25:d=0.2", "-c:v", "mpeg2video", "-f", "mpeg2video", part)
        data += part.read_bytes()
        part.unlink()
    return write(folder / "changing.m2v", data)


def large_header(suffix: str, samples: Samples, folder: Path) -> Path:
    """A small video whose header says 30000 × 30000."""
    size = struct.pack("<HH", 80, 64)
    if suffix == ".gif":
        data = samples.read("driver.gif").replace(size, struct.pack("<HH", 30000, 30000))
    else:
        ffmpeg(*TEST, "-c:v", "ffv1", folder / "x.avi")
        data = (folder / "x.avi").read_bytes().replace(struct.pack("<ii", 80, 64), struct.pack("<ii", 30000, 30000))
        (folder / "x.avi").unlink()
    return write(folder / f"large{suffix}", data)


def trailing(samples: Samples, folder: Path) -> Path:
    return write(folder / "trailing.mp4", samples.read("driver.mp4") + random.Random(SEED).randbytes(3000))


def pictures(count: int, samples: Samples, folder: Path) -> Path:
    """A folder of pictures, the last of another size where there are more than two."""
    (folder / "pictures").mkdir()
    for number in range(count):
        shutil.copy(samples.path("picture.png"), folder / "pictures" / f"{number}.png")
    if count > 2:
        cv2.imwrite(str(folder / "pictures" / "9.png"), np.zeros((8, 8, 3), np.uint8))
    return folder / "pictures"


def odd_videos() -> Iterator[Case]:
    for name in VIDEOS:
        codes = UNREADABLE if name == "gap.mp4" else READABLE
        yield Case(name, "driver", partial(encoded, name), codes)
    for name in SILENT:
        yield Case(name, "driver", partial(encoded, name), UNREADABLE, "only sound")
    for degrees in (90, 180, 270):
        yield Case(f"rotated-{degrees}", "driver", partial(rotated, degrees), READABLE)
    yield Case("cover-only", "driver", cover_only, UNREADABLE, "only sound and a cover")
    yield Case("no-frames", "driver", no_frames, UNREADABLE)
    yield Case("changing-size", "driver", changing_size, READABLE)
    yield Case("large-header.gif", "driver", partial(large_header, ".gif"), UNREADABLE, "30000×30000")
    yield Case("large-header.avi", "driver", partial(large_header, ".avi"), UNREADABLE, "30000×30000")
    yield Case("trailing-noise", "driver", trailing, EITHER)
    yield Case("folder-of-one", "driver", partial(pictures, 1), READABLE)
    yield Case("folder-of-two", "driver", partial(pictures, 2), READABLE)
    yield Case("folder-of-two-sizes", "driver", partial(pictures, 3), UNREADABLE)


# odd names, of inputs and of the output

NAMES = {
    "spaces": " a  b ",
    "quotes": 'it\'s "q" `x`',
    "dash": "-o",
    "two-dashes": "--help",
    "newline": "one\ntwo",
    "tab-and-escape": "\t\x1b[31mred",
    "emoji": "顔😀",
    "255-bytes": "é" * 127 + "x",
    "not-text": os.fsdecode(b"\xff\xfe"),
    "percent": "%03d%s",
    "protocol": "http:x",
    "filter": "[0:v],a;b='c'",
    "shell": "$(touch pwned);x|y",
    "star": "*?[a]",
    "hash": "#1#2",
    "right-to-left": "\u202egpj",
}


def fitting(stem: str, suffix: str) -> str:
    """A stem that has room for the suffix in 255 bytes."""
    while len(os.fsencode(stem + suffix)) > 255:
        stem = stem[:-1]
    return stem


def named(role: str, name: str, samples: Samples, folder: Path) -> Path:
    good = {"source": "picture.png", "driver": "driver.mp4", "weights": "weights.safetensors", "recipe": "recipe.toml"}
    good |= {"pairs": "pairs.csv", "boxes": "boxes.csv"}
    suffix = SUFFIXES[role]
    stem = fitting(NAMES[name], suffix)
    return Path(shutil.copy(samples.path(good[role]), folder / f"{stem}{suffix}"))


def missing(role: str, name: str, samples: Samples, folder: Path) -> Path:
    return folder / f"{fitting(NAMES[name], '.x')}.x"


def named_output(suffix: str, name: str, samples: Samples, folder: Path) -> Path:
    """An output of which nothing is there yet."""
    stem = fitting(NAMES[name], suffix)
    return folder / "out" / f"{stem}{suffix}"


def odd_names() -> Iterator[Case]:
    for name in NAMES:
        for role in ROLES:
            is_refused = role == "weights" and name == "not-text"  # by the safetensors library
            yield Case(f"named-{name}", role, partial(named, role, name), UNREADABLE if is_refused else READABLE)
            yield Case(f"missing-{name}", role, partial(missing, role, name), MISSING[role])
        for suffix in (".mp4", ".gif", ""):
            yield Case(f"named-{name}", f"output{suffix}", partial(named_output, suffix, name), READABLE)


# running a case


def command(case: Case, path: Path, samples: Samples, folder: Path) -> list[str]:
    """The arguments of the command that reads the file in its role; results go to `out` in the folder."""
    out = str(path if case.role.startswith("output") else folder / "out" / "result.mp4")
    source, driver = str(samples.path("picture.png")), str(samples.path("driver.mp4"))
    weights = str(path if case.role == "weights" else samples.path("weights.safetensors"))
    animate = ["animate", *FEW, f"--weights={weights}"]
    if case.role == "recipe":
        small = "--preset tiny --resolution 64 --batch 2 --steps 1 --workers 0 --perceptual pixels"  # whatever it says
        run = str(folder / "out" / "run")
        return ["train", "--config", str(path), "--out", run, "-q", "--device=cpu", *small.split()]
    if case.role == "pairs":
        return [*animate, "--pairs", str(path), "-o", str(folder / "out")]
    if case.role == "boxes":
        flags = ["--boxes", str(path), "--resolution", "32", "--min-size", "8", "--min-seconds", "0", "-q"]
        return ["prepare", driver, "-o", str(folder / "out" / "data"), *flags, "--workers", "1"]
    pair = {"source": [str(path), driver], "driver": [source, str(path)]}.get(case.role, [source, driver])
    return [*animate, "-o", out, "--", *pair]


@dataclass(frozen=True)
class Outcome:
    """Exit code, what was written to stdout and stderr, and the files that are there afterwards."""

    code: int
    out: str
    err: str
    left: list[Path]


def perform(arguments: list[str], folder: Path, capture: "pytest.CaptureFixture[str]") -> Outcome:
    """Run a command in this process, in time; what the C libraries write to stderr counts as well."""
    capture.readouterr()
    handler = signal.getsignal(signal.SIGTERM)
    with in_time(SECONDS):
        try:
            code = main(arguments)
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        finally:
            signal.signal(signal.SIGTERM, handler)
    captured = capture.readouterr()
    left = sorted(path for path in (folder / "out").rglob("*") if not path.is_dir())
    return Outcome(code, captured.out, captured.err, left)


class HangError(BaseException):
    """A case took too long."""


@contextmanager
def in_time(seconds: float) -> Iterator[None]:
    """Raise HangError where the block takes longer."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise HangError(f"longer than {seconds} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def as_somebody() -> Iterator[None]:
    """Where this process is root, who may read everything: as a user who may not."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def memory() -> tuple[float, float]:
    """The most memory that this process, and any of its children, has had: MiB."""
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    own, children = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own / unit, children / unit
