"""The operator as a node of a compiled graph: its values, gradients and shapes are those of the operator itself."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.library import opcheck

from ssa import SelectiveSynchronizationAttention, opaque
from ssa.chunked import synchronize
from ssa.dense import capped_root


def inputs(separate: bool) -> list[Tensor | None]:
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 9, 3), torch.randn(2, 9, 3) if separate else None, torch.randn(2, 9, 4)
    others = (0.2 + torch.rand(2, 9), 0.1 + 0.5 * torch.rand(2))
    return [x if x is None else x.double().requires_grad_() for x in (q, k, v, *others)]


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_the_node_gives_what_the_function_gives(separate: bool, causal: bool) -> None:
    tensors = inputs(separate)
    wanted = [x for x in tensors if x is not None]
    mask = torch.arange(9) < torch.tensor([[9], [6]])
    found = []
    for operator in (None, partial(opaque.attend, "chunked")):
        out = synchronize(*tensors, causal=causal, key_mask=mask, floor=0.1, chunk=4, operator=operator)
        weight = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view_as(out)
        found.append([out, *torch.autograd.grad((out * weight).sum(), wanted)])
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)
    first = [None if x is None else x[:, :4].detach() for x in tensors[:2]] if causal else [None, None]
    arguments = ("chunked", *tensors, *first, mask, causal, 5.0, None, 0.1, 4)
    opcheck(opaque._attend, arguments, test_utils=("test_schema", "test_faketensor", "test_autograd_registration"))


def test_other_weights_for_a_call_are_fine() -> None:
    layer, x = SelectiveSynchronizationAttention(12, 2), torch.randn(2, 7, 12)
    assert torch.equal(functional_call(layer, dict(layer.named_parameters()), (x,)), layer(x))


def test_the_cap_bounds_the_slope_and_leaves_the_root() -> None:
    y = torch.tensor([-1.0, 0.0, 1e-12, 0.004, 0.009, 0.011, 4.0], dtype=torch.double, requires_grad=True)
    root = capped_root(y, 5.0)  # 1 / (2 sqrt(y)) is 5 at y = 0.01
    torch.testing.assert_close(root.detach(), y.detach().clamp_min(0).sqrt(), rtol=0, atol=1e-15)
    (slope,) = torch.autograd.grad(root.sum(), y)
    torch.testing.assert_close(slope, torch.tensor([0, 0, 5, 5, 5, 0.5 / 0.011**0.5, 0.25], dtype=torch.double))
