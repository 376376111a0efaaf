"""Where a form in plain PyTorch takes the place of one whose gradients are written out by hand.

Such a form loops over chunks of tokens, works in place and has no derivative of its gradient. So it suits training, and
nothing that follows single operations: `torch.export` for any number of tokens, the transforms of `torch.func`, and
gradients of gradients. These take the plain form, which holds all pairs of tokens at once (our choice).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.torch_version import TorchVersion

# PyTorch 2.11 says in every graph of torch.compile that it exports; a strict export is of one length there.
ALWAYS_EXPORTS = TorchVersion(torch.__version__) < "2.13"


def follows_operations() -> bool:
    """Whether torch.export or a transform of torch.func is at work."""
    # PyTorch's own Function.apply asks the same; without it such a transform is an error there, and nothing worse.
    transforms = getattr(torch._C, "_are_functorch_transforms_active", lambda: False)
    exporting = torch.compiler.is_exporting() and not (ALWAYS_EXPORTS and torch.compiler.is_dynamo_compiling())
    return exporting or bool(transforms())


def differentiated_again() -> bool:
    """In a backward pass: whether its result is to be differentiated (create_graph=True)."""
    return torch.is_grad_enabled() and not torch.compiler.is_compiling()


def plain_gradients(
    plain: Callable[..., Tensor | tuple[Tensor, ...]], inputs: Sequence[Tensor | None], grads: Sequence[Tensor]
) -> list[Tensor | None]:
    """The gradients of `plain(*inputs)`, with a graph of their own: None for an input that needs none."""
    wanted = [x for x in inputs if x is not None and x.requires_grad]
    out = plain(*inputs)
    found = iter(torch.autograd.grad(out, wanted, grads, create_graph=True, materialize_grads=True))
    return [next(found) if x is not None and x.requires_grad else None for x in inputs]
