"""`Animator`: the equations composed by hand, and which loss moves which network."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional
from training_cases import SIDE, TINY, make_model, moved, noise, seeded

from animask.losses import mask_loss
from animask.networks import move
from animask.perturb import p_test, p_train


@pytest.fixture
def model():
    return make_model()


@pytest.fixture
def model_with_flow():
    model = make_model(replace(TINY, flow=True))
    nn.init.normal_(model.l.head.weight[3:], std=0.01, generator=seeded())
    return model


def frames(count, seed=0):
    return noise(count, 3, SIDE, SIDE, seed=seed)


def small(x):
    return functional.interpolate(x, scale_factor=0.25, mode="bilinear", align_corners=False)


def large(x):
    return functional.interpolate(x, scale_factor=4, mode="bilinear", align_corners=False)


def losses(trace, target):
    """L_mask, and the reconstruction losses of c and of f."""
    return mask_loss(trace.m_dr, trace.m_d), *((x - target).abs().mean() for x in (trace.c, trace.f))


# which loss moves which network


@pytest.mark.parametrize(("number", "networks"), [(0, {"r"}), (1, {"l", "m"}), (2, {"h"})], ids=["mask", "c", "f"])
def test_each_loss_moves_its_own_networks(model, number, networks):
    losses(model(frames(2), frames(2, 1), seeded()), frames(2, 2))[number].backward()
    assert moved(model) == networks


def test_m_learns_from_both_masks(model):
    """The gradient of c comes back through m(s) and through m(A(d)): leave one out, and it is another one."""

    def from_c(compute):
        model.zero_grad()
        compute().sum().backward()
        return torch.cat([parameter.grad.flatten() for parameter in model.m.parameters()])

    def by_hand(keep_s, keep_d):
        m_s, m_d = model.m(torch.cat((s, d))).chunk(2)
        return model.l(torch.cat((small(s), keep_s(m_s), keep_d(m_d)), dim=1))

    def keep(x):
        return x

    s, d = frames(2), frames(2, 1)
    found = from_c(lambda: model(s, d, seeded()).c)
    assert torch.allclose(found, from_c(lambda: by_hand(keep, keep)), rtol=1e-3, atol=1e-5)
    assert not torch.allclose(found, from_c(lambda: by_hand(torch.detach, keep)), rtol=1e-2)
    assert not torch.allclose(found, from_c(lambda: by_hand(keep, torch.detach)), rtol=1e-2)


# training, equations (5) to (7)


@pytest.mark.parametrize(("threshold", "cuts"), [("median", (0.0, 1.0)), (0.9, (0.25, 0.75))])
def test_training_is_the_equations_by_hand(model, threshold, cuts):
    """In eval mode, so that BatchNorm cannot tell one pass for two masks from two passes."""
    model.eval()
    model.config = replace(TINY, threshold_train=threshold, cuts=cuts)
    s, d = frames(2), frames(2, 1)
    with torch.no_grad():
        trace = model(s, d, seeded())
        m_s, m_d = model.m(s), model.m(d)
        m_dp = p_train(m_d, threshold, cuts, seeded())
        m_dr = model.r(torch.cat((small(s), m_s, m_dp), dim=1))  # eq. (5)
        c = model.l(torch.cat((small(s), m_s, m_d), dim=1))  # eq. (6)
        f = model.h(torch.cat((s, large(m_s), large(m_d), c), dim=1))  # eq. (7)
    for found, expected in zip(trace, (m_s, m_d, m_dp, m_dr, c, f), strict=True):
        assert torch.allclose(found, expected, atol=1e-6)
    assert (c - model.l(torch.cat((small(s), m_s, m_dr), dim=1))).abs().max() > 1e-6  # not the refined mask


def test_source_and_driver_are_normalised_together(model):
    """One pass of m for both: BatchNorm counts one batch a step and sees the statistics of both."""
    s, d = frames(2), frames(2, 1) / 4
    trace = model(s, d, seeded())
    assert model.m.body.encoder[0].norm.num_batches_tracked == 1
    assert torch.allclose(torch.cat((trace.m_s, trace.m_d)), model.m(torch.cat((s, d))), atol=1e-6)


def test_masks_of_the_trace_carry_no_gradient_but_the_refined_one(model):
    trace = model(frames(2), frames(2, 1), seeded())
    learns = {name: value.requires_grad for name, value in trace._asdict().items()}
    assert learns == {"m_s": False, "m_d": False, "m_dp": False, "m_dr": True, "c": True, "f": True}


def test_a_part_of_the_final_frame_is_painted_from_the_same_part_of_everything(model):
    model.eval()
    s, m_s, m_x, c = frames(2), small(frames(2, 3))[:, :1], small(frames(2, 4))[:, :1], frames(2, 1)
    found = model.final(s, m_s, m_x, c, lambda x: x[..., 8:40, 16:48])
    part = torch.cat((s, large(m_s), large(m_x), c), dim=1)[..., 8:40, 16:48]
    assert torch.equal(found, model.h(part))


def test_h_sees_the_source_where_the_flow_says(model_with_flow):
    model = model_with_flow.eval()
    s, m_s, m_x = frames(2), small(frames(2, 3))[:, :1], small(frames(2, 4))[:, :1]
    c = model.coarse(s, m_s, m_x)
    seen = move(torch.cat((s, large(m_s)), dim=1), c[:, 3:])
    expected = model.h(torch.cat((seen, large(m_x), c[:, :3]), dim=1))
    assert torch.equal(model.final(s, m_s, m_x, c), expected)
    shown, f = model.render(s, m_s, m_x)
    assert torch.equal(shown, c[:, :3])
    assert torch.equal(f, expected)


def test_the_loss_on_f_trains_the_flow_but_not_c(model_with_flow):
    model = model_with_flow
    _, f = model.render(frames(2), small(frames(2, 3))[:, :1], small(frames(2, 4))[:, :1])
    f.mean().backward()
    gradient = model.l.head.bias.grad
    assert gradient is not None
    assert not gradient[:3].any()
    assert gradient[3:].all()


# test time, equations (1) to (4)


@torch.no_grad()
@pytest.mark.parametrize(("threshold", "scale"), [("median", 0.75), (0.0, 1.0)])
def test_drive_is_the_equations_by_hand(model, threshold, scale):
    model.eval()
    model.config = replace(TINY, threshold=threshold, scale=scale)
    s, d = frames(2), frames(2, 1)
    m_s = model.m(s)  # eq. (1)
    m_dp = p_test(model.m(d), threshold, scale)
    m_dr = model.r(torch.cat((small(s), m_s, m_dp), dim=1))  # eq. (2)
    c = model.l(torch.cat((small(s), m_s, m_dr), dim=1))  # eq. (3)
    f = model.h(torch.cat((s, large(m_s), large(m_dr), c), dim=1))  # eq. (4)
    for found, expected in zip(model.drive(s, m_s, d), (m_s, model.m(d), m_dp, m_dr, c, f), strict=True):
        assert torch.allclose(found, expected, atol=1e-6)


@torch.no_grad()
def test_ablations_leave_out_a_step_each(model):
    model.eval()
    s, d = frames(1), frames(2, 1)
    m_s, m_d = model.m(s), model.m(d)
    m_dp = p_test(m_d, "median", 0.75)
    expected = {
        "none": (m_dp, model.refine(s, m_s, m_dp)),
        "no_pert": (m_d, model.refine(s, m_s, m_d)),
        "no_ref": (m_dp, m_dp),
        "no_id": (m_d, m_d),
    }
    for ablation, (perturbed, refined) in expected.items():
        trace = model.drive(s, m_s, d, ablation)
        assert torch.equal(trace.m_dp, perturbed)
        assert torch.equal(trace.m_dr, refined)
        assert torch.equal(trace.f, model.render(s, m_s, refined)[1])
    assert torch.equal(model.drive(s, m_s, d).f, model.drive(s, m_s, d, "none").f)


@torch.no_grad()
def test_the_source_is_encoded_once_for_many_drivers(model):
    model.eval()
    s, d = frames(1), frames(3, 1)
    m_s = model.m(s)
    together = model.drive(s, m_s, d)
    assert together.f.shape == (3, 3, SIDE, SIDE)
    for i in range(3):
        alone = model.drive(s, m_s, d[i : i + 1])
        for a, b in zip(together[1:], alone[1:], strict=True):
            assert torch.allclose(a[i : i + 1], b, atol=1e-5)
