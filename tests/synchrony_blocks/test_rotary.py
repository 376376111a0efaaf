"""Rotary phases: an angle nu * t, exact far out, and left in float64 when a model is cast."""

import pytest
import torch

from configs.compose import compose
from synchrony_blocks import Rotary
from training.budget import resolve_shape
from training.build import build_model


def test_rotation_is_multiplication_by_a_phase() -> None:
    rotary = Rotary(3, base=100.0)
    cos, sin = rotary.table(6, torch.float64)
    x = torch.randn(2, 6, 6, dtype=torch.float64)
    drift = torch.tensor([1.0, 100 ** (-1 / 3), 100 ** (-2 / 3)], dtype=torch.float64)
    turned = torch.complex(*x.chunk(2, -1)) * torch.exp(1j * torch.arange(6)[:, None] * drift)
    torch.testing.assert_close(rotary.rotate(x, cos, sin), torch.cat((turned.real, turned.imag), -1))


def test_positions_far_out_are_exact_after_a_cast_to_bfloat16() -> None:
    rotary = Rotary(4).to(torch.bfloat16)
    cos, _ = rotary.phase(1_000_000, 1_000_001, torch.float64)
    exact = torch.cos(1_000_000 * 10_000.0 ** (-torch.arange(4, dtype=torch.float64) / 4))
    torch.testing.assert_close(cos[0], exact, rtol=0, atol=1e-9)


def test_one_position_agrees_with_the_table() -> None:
    rotary = Rotary(4)
    for table, phase in zip(rotary.table(9, torch.float32), rotary.phase(8, 9, torch.float32), strict=True):
        torch.testing.assert_close(table[8:], phase)


def test_what_is_made_in_inference_mode_is_not_kept_for_training() -> None:
    rotary = Rotary(4)
    with torch.inference_mode():
        rotary.table(9, torch.float32)
    x = torch.randn(9, 8, requires_grad=True)
    rotary.rotate(x, *rotary.table(9, torch.float32)).sum().backward()
    assert x.grad is not None


def test_passes_in_half_precision_and_those_between_them_share_a_table() -> None:
    rotary = Rotary(4)
    whole = rotary.table(9, torch.float32)
    half = rotary.table(9, torch.bfloat16)
    assert half[0].dtype == torch.bfloat16 and torch.equal(half[0], whole[0].bfloat16())
    assert rotary.table(9, torch.float32)[0] is whole[0]
    exact = rotary.table(9, torch.float64)
    torch.testing.assert_close(exact[0], rotary.phase(0, 9, torch.float64)[0], rtol=0, atol=0)


@pytest.mark.parametrize(
    "overrides",
    [
        ("model=osn",),
        ("model=osn", "model.learn_theta=false"),
        ("model=transformer",),
        ("model=fsn", "model.null=none"),
    ],
    ids=" ".join,
)
def test_a_model_that_comes_from_the_meta_device_needs_nothing_but_its_weights(overrides) -> None:
    """`to_empty` leaves buffers as memory happens to be: none may matter that a state dict does not hold."""
    shape = resolve_shape(compose("train", [*overrides, "scale=smoke"]), 256).model
    torch.manual_seed(0)
    here, tokens = build_model(shape, 256).eval(), torch.randint(0, 256, (1, 9))
    with torch.device("meta"):
        there = build_model(shape, 256).eval()
    there.to_empty(device="cpu")
    with torch.no_grad():
        for name, buffer in there.named_buffers():
            if not name.endswith("drift"):
                buffer.fill_(float("nan"))  # fresh memory is often zeros
        there.load_state_dict(here.state_dict())
        assert torch.equal(there(tokens), here(tokens))


def test_the_ladder_is_there_wherever_a_module_goes() -> None:
    expected = Rotary(4).drift
    with torch.device("meta"):
        there = Rotary(4)
    assert there.drift.is_meta
    for moved in (
        there.to_empty(device="cpu"),
        Rotary(4).to(torch.bfloat16),
        Rotary(4).to("meta").to_empty(device="cpu"),
    ):
        assert torch.equal(moved.drift, expected) and moved.drift.dtype == torch.float64
