"""torch.func, gradients of gradients and torch.export: the plain forms give what the written gradients give."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap

from fsn import SynchronizationAttention
from fsn.copying import CopyingHead
from fsn.local_coupling import LocalCoupling
from ssa import SelectiveSynchronizationAttention
from synchrony_blocks.transforms import ALWAYS_EXPORTS

D, N = 6, 5
SSA = partial(SelectiveSynchronizationAttention, D, 2)
LAYERS = {
    "attention": partial(SynchronizationAttention, D, 2),
    "kuramoto, of all": partial(SynchronizationAttention, D, 2, harmonics=1, delay=False, causal=False),
    "local": partial(LocalCoupling, D, 7),
    "local, of both sides": partial(LocalCoupling, D, 2, causal=False),
    "copying": partial(CopyingHead, D),
    "copying, of all": partial(CopyingHead, D, causal=False),
    "ssa": SSA,
    "ssa, dense": partial(SSA, backend="dense"),
    "ssa, of all, top 3": partial(SSA, causal=False, top_k=3),
    "ssa, exact": partial(SSA, cap=None, delayed_heads=1),
}
pytestmark = pytest.mark.parametrize("name", LAYERS)


@pytest.fixture
def layer(name: str) -> nn.Module:
    torch.manual_seed(0)
    layer = LAYERS[name]().double()
    for parameter in layer.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return layer


def weighted(y: Tensor) -> Tensor:
    return (y * torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y)).sum()


def test_gradients_of_each_sequence(layer: nn.Module) -> None:
    x = torch.randn(3, N, D, dtype=torch.double)
    weights = {name: weight.detach() for name, weight in layer.named_parameters()}
    each = vmap(grad(lambda w, one: weighted(functional_call(layer, w, (one[None],)))), in_dims=(None, 0))(weights, x)
    for b in range(len(x)):
        expected = torch.autograd.grad(weighted(layer(x[b : b + 1])), list(layer.parameters()))
        for (name, found), wanted in zip(each.items(), expected, strict=True):
            torch.testing.assert_close(found[b], wanted, atol=1e-10, rtol=1e-10, msg=name)
    ahead = jvp(layer, (x,), (x.cos(),))[1]
    z = x.clone().requires_grad_()
    torch.testing.assert_close(weighted(ahead), (torch.autograd.grad(weighted(layer(z)), z)[0] * x.cos()).sum())


def test_gradients_of_gradients(layer: nn.Module) -> None:
    """Along one direction, against differences of gradients; the first ones are those without a graph."""
    x = torch.randn(1, N, D, dtype=torch.double, requires_grad=True)
    inputs = [x, *layer.parameters()]
    first = torch.autograd.grad(weighted(layer(x)), inputs, create_graph=True)
    for found, wanted in zip(first, torch.autograd.grad(weighted(layer(x)), inputs), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-10, rtol=1e-10)
    second = torch.autograd.grad(weighted(first[0]), inputs)
    direction = [torch.randn_like(x) for x in inputs]

    def moved(step: float) -> float:
        for value, along in zip(inputs, direction, strict=True):
            value.data += step * along
        found = weighted(torch.autograd.grad(weighted(layer(x)), x)[0])
        for value, along in zip(inputs, direction, strict=True):
            value.data -= step * along
        return float(found)

    slope = (moved(1e-6) - moved(-1e-6)) / 2e-6
    assert float(sum((a * b).sum() for a, b in zip(second, direction, strict=True))) == pytest.approx(slope, rel=1e-5)


def test_a_padding_mask_in_a_transform(layer: nn.Module) -> None:
    x, mask = torch.randn(2, N, D, dtype=torch.double), torch.arange(N) < torch.tensor([[N], [3]])
    each = vmap(lambda one, real: layer(one[None], padding_mask=real[None])[0])(x, mask)
    torch.testing.assert_close(each, layer(x, padding_mask=mask), atol=1e-10, rtol=1e-10)


def test_a_strict_export_takes_any_length_too(name: str, layer: nn.Module) -> None:
    """It traces as torch.compile does, which takes the written gradients."""
    if ALWAYS_EXPORTS or "top" in name:
        pytest.skip("PyTorch 2.11 takes it for torch.compile; top_k is of one length there")
    dynamic = ({0: torch.export.Dim.STATIC, 1: torch.export.Dim("n", min=3, max=1000)},)
    x = torch.randn(1, 2 * N, D, dtype=torch.double)
    exported = torch.export.export(layer.eval(), (x,), dynamic_shapes=dynamic, strict=True).module()
    longer = torch.randn(1, 3 * N + 1, D, dtype=torch.double)
    torch.testing.assert_close(exported(longer), layer(longer), atol=1e-10, rtol=1e-10)
