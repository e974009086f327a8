"""Nothing is let in: no file makes the program open another one or an address, or write where it should not."""

import csv
import json
import socket
import struct
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safe_cases import ffmpeg
from safetensors.torch import save_file

from animask import hub
from animask.animation import read_pairs
from animask.animation.batches import MAX_BYTES as PAIRS_BYTES
from animask.cli import main
from animask.cli.screen import plain, say, show_result
from animask.config import MAX_CONFIG_BYTES, MODEL_PRESETS, read_toml, to_dict
from animask.errors import InputError
from animask.evaluation.report import Example, page
from animask.evaluation.results import Result, Score
from animask.headers import MAX_HEADER_BYTES, read_header
from animask.preparation import boxes as boxes_module
from animask.preparation import records as records_module
from animask.preparation.boxes import read_boxes
from animask.preparation.records import read_records
from animask.texts import read_fps, read_text
from animask.video.ffmpeg import DEMUXERS, Child, file_input, file_output
from animask.weights import load_model

SECRET = b"what no output may hold: " + b"7" * 40


class Listener:
    """A socket on 127.0.0.1 that counts who connects."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.settimeout(0.3)
        self.port = self.socket.getsockname()[1]

    def heard(self) -> bool:
        try:
            self.socket.accept()[0].close()
        except TimeoutError:
            return False
        return True


@pytest.fixture
def listener() -> Iterator[Listener]:
    here = Listener()
    yield here
    here.socket.close()


def playlists(target: str, port: int) -> dict[str, bytes]:
    """Files that ask a player to open something else, by the name that their kind has."""
    smil = f'<smil><body><video src="{target}"/></body></smil>'
    dash = (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT1S">'
        '<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1">'
        f"<BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>"
    )
    texts = {
        "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{target}\n#EXT-X-ENDLIST\n",
        "key.m3u8": f'#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n#EXTINF:2,\nx.ts\n',
        "list.ffconcat": f"ffconcat version 1.0\nfile '{target}'\n",
        "list.mpd": dash,
        "list.sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n",
        "list.asx": f'<asx version="3.0"><entry><ref href="{target}"/></entry></asx>',
        "list.smil": smil,
        "list.pls": f"[playlist]\nFile1={target}\nNumberOfEntries=1\n",
        "list.ism": smil,
        "picture.svg": f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{target}"/></svg>',
        "script.avs": f'DirectShowSource("{target}")\n',
        "list.txt": target,
    }
    return {name: text.encode() for name, text in texts.items()}


def test_no_playlist_opens_an_address_or_another_file(
    listener: Listener, picture: Path, tiny_weights: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As picture and as driver, under its own name and as a video."""
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(SECRET)
    address = f"127.0.0.1:{listener.port}"
    targets = [f"http://{address}/x.ts", f"tcp://{address}", str(secret), f"file:{secret}", "secret.mp4"]
    out = tmp_path / "out.mp4"
    flags = ["-o", str(out), "--weights", str(tiny_weights), "--device", "cpu", "-q"]
    count = 0
    for target in targets:
        for name, content in playlists(target, listener.port).items():
            path = tmp_path / (name if count % 2 else f"{name}.mp4")
            path.write_bytes(content)
            inputs = [str(path), str(secret)] if name.endswith(("svg", "txt")) else [str(picture), str(path)]
            with pytest.raises(SystemExit) as caught:
                main(["animate", *inputs, *flags])
            captured = capfd.readouterr()
            assert caught.value.code == 2, (name, captured)
            assert captured.err.count("\n") == 1 and SECRET.decode() not in captured.err
            count += 1
    assert count == 60
    assert not out.exists()
    assert not listener.heard()


def test_names_that_are_addresses_are_files_that_do_not_exist(
    listener: Listener, picture: Path, driver: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"http://127.0.0.1:{listener.port}/x.mp4"
    pairs = [[address, str(driver)], [str(picture), address], [str(picture), f"concat:{driver}|{driver}"]]
    pairs += [[str(picture), f"subfile,,start,0,end,9,,:{driver}"], [str(picture), "lavfi:testsrc"], ["-", "-"]]
    for pair in pairs:
        with pytest.raises(SystemExit) as caught:
            main(["animate", "-o", str(tmp_path / "out.mp4"), "--", *pair])
        assert caught.value.code == 2
        assert "does not exist" in capsys.readouterr().err
    for name in (address, f"https://127.0.0.1:{listener.port}/x.safetensors"):
        with pytest.raises(SystemExit) as caught:
            main(["animate", str(picture), str(driver), "-o", str(tmp_path / "out.mp4"), "--weights", name])
        assert caught.value.code == 3
    assert not listener.heard()


def test_a_movie_with_its_pictures_elsewhere_does_not_open_them(listener: Listener, tmp_path: Path) -> None:
    """QuickTime can name another file as the place of its samples (`dref`)."""
    path = tmp_path / "reference.mov"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x64:r=10:d=0.3", "-c:v", "mjpeg", path)
    data = path.read_bytes()
    at = data.index(b"dref")
    (length,) = struct.unpack(">I", data[at + 12 : at + 16])
    address = f"http://127.0.0.1:{listener.port}/".encode().ljust(length - 12, b"\0")[: length - 12]
    path.write_bytes(data[: at + 16] + b"url " + b"\0\0\0\0" + address + data[at + 12 + length :])
    arguments = [*file_input(path), "-f", "null", "-"]
    with Child(arguments, limit=20) as child:
        child.wait()
    assert not listener.heard()


def test_ffmpeg_gets_lists_of_arguments_and_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("-i", "--", "x y", "$(touch pwned)", "http://x", "pipe:0", "%d.png"):
        *limits, flag, given = file_input(Path(name))
        assert (flag, given) == ("-i", f"file:{tmp_path / name}")
        assert limits[:2] == ["-protocol_whitelist", "file,pipe"]
        assert limits[2:4] == ["-format_whitelist", DEMUXERS] and "-max_pixels" in limits
        assert file_output(Path(name)) == f"file:{tmp_path / name}"
    with Child(["-version"]) as child:
        child.wait()
        assert isinstance(child.process.args, list) and "-nostdin" in child.process.args
    listed = set(DEMUXERS.split(","))
    assert not listed & {"hls", "concat", "dash", "sdp", "rtsp", "image2", "lavfi", "tee", "vapoursynth", "avisynth"}


# the Hub


part = st.text(st.sampled_from("aZ0.-_/@\\:~%\n\0é "), max_size=12)


@settings(max_examples=400, deadline=None)
@given(part, part, part, part)
def test_no_name_on_the_hub_leaves_the_cache(owner: str, repo: str, revision: str, file: str) -> None:
    for name in (f"hf://{owner}/{repo}@{revision}/{file}.safetensors", f"hf://{owner}/{repo}/{file}.safetensors"):
        try:
            reference = hub.parse(name)
        except InputError:
            continue
        root = hub.cache_root().absolute()
        path = hub.place(reference).absolute()
        assert ".." not in path.parts
        assert root in path.parents and hub.repo_folder(reference.repo).parent == hub.cache_root()


# texts and their sizes


@pytest.mark.parametrize(
    ("read", "limit", "name"),
    [
        (read_toml, MAX_CONFIG_BYTES, "x.toml"),
        (read_pairs, PAIRS_BYTES, "x.csv"),
        (read_boxes, boxes_module.MAX_BYTES, "x.csv"),
        (lambda path: read_records(path.parent), records_module.MAX_BYTES, "prepared.csv"),
    ],
)
def test_texts_that_are_too_large_are_not_read(read, limit: int, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with path.open("wb") as file:
        file.truncate(limit * 20)  # a hole of some gigabytes
    started = time.monotonic()
    with pytest.raises(InputError, match="larger than"):
        read(path)
    assert time.monotonic() - started < 10


def test_a_list_of_pairs_cannot_write_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    for output in ("/etc/x.mp4", "../x.mp4", "a/../../x.mp4"):
        path.write_text(f"source,driver,output\na.png,b.mp4,{output}\n")
        with pytest.raises(InputError, match=r"line 2.*does not lie in"):
            read_pairs(path, tmp_path / "out")
        assert read_pairs(path)[0].output == Path(output), "without -o it is the user's own list"
    path.write_bytes(b"source,driver\na\0.png,b.mp4\n")
    with pytest.raises(InputError, match="NUL"):
        read_pairs(path)


HUGE = ["1e999999999", "1E+99999999", "9" * 5000, "1/" + "0" * 30 + "1", "1e-99999999", "nan", "inf", "0x10", ""]


@pytest.mark.parametrize("text", HUGE)
def test_numbers_with_a_billion_digits_are_not_computed(text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        read_fps(text)
    path = tmp_path / "boxes.csv"
    for column in range(1, 7):
        row = ["a", "0", "9", "1-2-30-40", "25", "64", "36"]
        row[column] = text
        with path.open("w") as file:
            csv.writer(file).writerows([boxes_module.COLUMNS, row])
        with pytest.raises(InputError):
            read_boxes(path)


@pytest.mark.parametrize("command", ["animate", "prepare"])
@pytest.mark.parametrize("text", HUGE[:2])
def test_frame_rates_without_end_are_refused(
    command: str, text: str, picture: Path, driver: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = [str(picture), str(driver)] if command == "animate" else [str(driver)]
    with pytest.raises(SystemExit) as caught:
        main([command, *inputs, "-o", str(tmp_path / "out.mp4"), "--fps", text])
    assert caught.value.code == 2
    assert "fps" in capsys.readouterr().err.replace("frame rate", "fps")


def test_text_is_read_from_regular_files_within_limits(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(b"\xef\xbb\xbfa\r\nb")
    assert read_text(path, 100) == "a\r\nb"
    for limit, words in ((7, ""), (6, "larger than the limit of 6 bytes")):
        if words:
            with pytest.raises(InputError, match=words):
                read_text(path, limit)
        else:
            assert read_text(path, limit)


# terminals and pages


def test_names_cannot_steer_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b]0;title\x07\x1b[31m\r\x08\u202egpj\n\udcff"
    say(evil)
    assert capsys.readouterr().err == "\\x1b]0;title\\x07\\x1b[31m\\r\\x08\\u202egpj\n\\udcff\n"
    assert plain("é 顔\n", kept="\n") == "é 顔\n"


def test_a_path_that_is_no_text_is_printed_byte_for_byte(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    show_result("", "/tmp/\udcff\udcfe.mp4", as_json=False)
    show_result({"output": "/tmp/\udcff.mp4"}, "", as_json=True)
    first, second = capfdbinary.readouterr().out.splitlines()
    assert first == b"/tmp/\xff\xfe.mp4"
    assert json.loads(second) == {"output": "/tmp/\udcff.mp4"}


class Tags(HTMLParser):
    """The elements of a page, and their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        self.attributes |= {name for name, _ in attrs}


def a_page(name: str) -> str:
    """A report in which everything that has a name has this one."""
    score = Score(0.5, 3, 1)
    protocol = {
        "weights": f"w/{name}",
        "dataset": name,
        "protocol": name,
        "metrics": {"l1": name},
        name: [{name: name}],
    }
    videos = [{"name": name, "frames": 3, "variants": {name: {"l1": score}}}]
    scores = {name: {"l1": score}}
    result = Result(protocol, scores, {name: {"l1": 0.1}}, [], name, videos, {name: name}, 3, 1.0, 1.0)
    pictures = {name: np.zeros((4, 4, 3), np.uint8)}
    texts = {"rank": name, "name": name, "note": name, "score": 0.5}
    return page(result, [Example(**{field: texts.get(field, pictures) for field in Example._fields})])


def test_a_report_shows_names_as_text() -> None:
    plain_page, evil = Tags(a_page("name")), "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&lt;"
    evil_page = Tags(a_page(evil))
    assert "h1" in plain_page.found and "img" in plain_page.found
    assert evil_page.found == plain_page.found
    assert evil_page.attributes == plain_page.attributes


# weights


def test_weights_that_claim_more_than_they_hold_are_refused_before_anything_is_allocated(
    tiny_weights: Path, tmp_path: Path
) -> None:
    """A header with a tensor of exabytes, one of another shape or dtype, and one that is too long to be read."""
    data = tiny_weights.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    name = next(key for key in header if key.endswith("weight"))
    changes = [{"shape": [1 << 40, 1 << 20]}, {"shape": [-1]}, {"dtype": "F64"}, {"shape": []}, {"dtype": "U8"}]
    path = tmp_path / "changed.safetensors"
    for change in changes:
        text = json.dumps({**header, name: {**header[name], **change}}).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
        with pytest.raises(InputError):
            load_model(path)
    path.write_bytes(struct.pack("<Q", 1 << 62) + data[8:])
    with pytest.raises(InputError):
        read_header(path)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", MAX_HEADER_BYTES + 1) + b"{")
        file.truncate(MAX_HEADER_BYTES * 2)
    with pytest.raises(InputError, match=f"more than {MAX_HEADER_BYTES}"):
        read_header(path)


@pytest.mark.parametrize("key", ["resolution", "width", "max_channels", "blocks", "residual_blocks"])
def test_no_configuration_in_a_file_allocates_much(key: str, tiny_weights: Path, tmp_path: Path) -> None:
    config = to_dict(MODEL_PRESETS["tiny"])
    for value in (10**5, 10**9, 2**62, -2, 0, 2.5, "many", None, [1], True):
        path = tmp_path / "changed.safetensors"
        save_file({"x": torch.zeros(1)}, path, {"config": json.dumps({**config, key: value})})
        started = time.monotonic()
        with pytest.raises(InputError):
            load_model(path)
        assert time.monotonic() - started < 20
