"""What the operator's own gradients cannot do is an error, never a wrong number."""

import pytest
import torch
from torch.func import functional_call, grad, jacrev, jvp, vmap

from ssa import SelectiveSynchronizationAttention

D, H, N = 12, 2, 7
BACKENDS = ("chunked", "dense")  # the dense one has plain autograd, except in the order parameter


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_are_not_differentiated_again(backend):
    torch.manual_seed(0)
    layer, x = SelectiveSynchronizationAttention(D, H, backend=backend), torch.randn(1, N, D, requires_grad=True)
    others = (layer.omega.weight, layer.log_alpha) if backend == "chunked" else ()  # plain autograd knows how
    for wanted in (x, layer.phi.weight, *others):
        (first,) = torch.autograd.grad(layer(x).square().sum(), wanted, create_graph=True)
        with pytest.raises(RuntimeError, match="differentiate twice"):
            first.square().sum().backward()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "transform",
    [
        lambda f, weights, x: grad(lambda w: f(w, x).sum())(weights),
        lambda f, weights, x: grad(lambda y: f(weights, y).sum())(x),
        lambda f, weights, x: jacrev(lambda y: f(weights, y))(x),
        lambda f, weights, x: jvp(lambda y: f(weights, y), (x,), (x,)),
        lambda f, weights, x: vmap(lambda y: f(weights, y[None]))(x),
        lambda f, weights, x: vmap(grad(lambda w, y: f(w, y[None]).sum()), in_dims=(None, 0))(weights, x),
    ],
    ids=["grad of weights", "grad of x", "jacrev", "jvp", "vmap", "vmap of grad"],
)
def test_transforms_are_refused(backend, transform):
    layer, x = SelectiveSynchronizationAttention(D, H, backend=backend), torch.randn(2, N, D)
    weights = {name: weight.detach() for name, weight in layer.named_parameters()}
    with pytest.raises(RuntimeError, match=r"functorch transforms|torch\.func|jvp"):
        transform(lambda w, y: functional_call(layer, w, (y,)), weights, x)


def test_other_weights_for_a_call_are_fine():
    layer, x = SelectiveSynchronizationAttention(D, H), torch.randn(2, N, D)
    assert torch.equal(functional_call(layer, dict(layer.named_parameters()), (x,)), layer(x))
