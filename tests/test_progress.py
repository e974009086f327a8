"""What a run leaves to be looked at."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from training_cases import CPU, SIDE, frame, make_model

from animask import config as configuration
from animask import progress
from animask.config import MODEL_PRESETS, TRAIN_PRESETS, TrainConfig, read_toml
from animask.datasets import pack, save_array
from animask.images import to_tensor
from animask.pairs import Pairs
from animask.progress import Case, cut_log, describe, draw_sheet, hold_out, judge_masks, validate, write_log, write_toml


def test_a_resumed_log_forgets_what_is_done_again(tmp_path):
    path = tmp_path / "log.jsonl"
    lines = [json.dumps({"step": step, "loss": 0.5}) for step in (1, 2, 2, 3, 4)]
    path.write_text("\n".join(lines) + '\n{"step": 5, "lo')
    cut_log(tmp_path, 3)
    write_log(tmp_path, 4, {"loss": 0.25})
    assert path.read_text() == "\n".join([*lines[:4], '{"step": 4, "loss": 0.25}']) + "\n"
    cut_log(tmp_path, 0)
    assert path.read_text() == ""


@pytest.mark.parametrize(
    ("mean", "motion", "word"), [(0.001, 0.1, "dark"), (0.999, 0.1, "1 every"), (0.4, 0.0, "same"), (0.2, 0.02, "")]
)
def test_masks_that_show_nothing_get_a_word_and_later_a_warning(mean, motion, word):
    figures = {"mask_mean": mean, "mask_motion": motion}
    early, late = (judge_masks(step, figures) for step in (progress.PATIENCE, progress.PATIENCE + 1))
    assert word in early
    assert ("WARNING" in early, "WARNING" in late) == (False, bool(word))
    assert judge_masks(0, {}) == ""


@pytest.mark.parametrize("text", ['a "quoted" \\ path', "späße 😀", "tab\t, line\n, bell\x07", "c:\\new"])
def test_the_resolved_configuration_is_read_back(text, tmp_path):
    for name in MODEL_PRESETS:
        model, train = MODEL_PRESETS[name], configuration.update(TRAIN_PRESETS[name], {"steps": 5, "data": text})
        write_toml(tmp_path / "config.toml", text, model, train)
        assert configuration.resolve(read_toml(tmp_path / "config.toml")) == (text, model, train)
        assert model.preset == name


def test_how_far_a_run_is_in_one_line():
    line = describe(3, 0.3, {"loss": 0.25, "r": 0.125, "lr": 1e-3, "samples_per_second": 12.34}, 120.0)
    for words in ("step 3", "30%", "loss 0.2500", "r 0.1250", "12.3 samples/s", "2 min left"):
        assert words in line
    assert "\n" not in line


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    clips = {}
    for identity in range(3):
        save_array(tmp_path / f"{identity}.npy", pack([frame(identity, turn) for turn in range(4)], []))
        clips[str(identity)] = [tmp_path / f"{identity}.npy"]
    return hold_out(Pairs(SIDE, TrainConfig(), clips))


def test_held_out_figures_by_hand(cases):
    model = make_model().eval()
    s, d = (to_tensor(np.stack(frames), CPU) for frames in zip(*cases, strict=True))
    with torch.inference_mode():
        c, f = model.render(s, model.m(s), model.m(d))
    wanted = {name: float((x - d).abs().mean()) for name, x in (("val_l1_c", c), ("val_l1_f", f), ("val_l1_copy", s))}
    assert validate(model, cases) == pytest.approx(wanted, rel=1e-4)
    assert len(cases) == progress.CASES


def test_the_sheet_shows_reconstructions_and_animations(cases):
    image = draw_sheet(make_model().eval(), cases)
    shown = progress.SHOWN
    assert image.shape[1] == 8 * SIDE
    height = image.shape[0] // (2 * shown)
    pairs = [(i, i) for i in range(shown)] + [(i, i + 1) for i in range(shown)]
    for row, (source, driver) in enumerate(pairs):
        line = image[row * height : (row + 1) * height][-SIDE:]
        assert np.array_equal(line[:, :SIDE], cases[source][0])
        assert np.array_equal(line[:, 2 * SIDE : 3 * SIDE], cases[driver][1])
