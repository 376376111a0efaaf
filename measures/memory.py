"""Memory of training by part.

Weights, gradients and AdamW's two moments are float32. Activations are what autograd saves of a forward pass for its
backward pass: measured of one row on the CPU, every storage once, weights left out, and multiplied by the rows. What a
loss over chunks and a kernel need for themselves is not counted, and other devices' kernels may save a little more or
less. Under autocast to bf16 activations take about half.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

BYTES = 4  # of a float32 number


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes on one device, in float32."""

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """All parts together."""
        return self.weights + self.gradients + self.optimizer + self.activations

    def cut(self, devices: int) -> "TrainingMemory":
        """Where each device keeps a part of every weight. The layer that is gathered for use is not counted."""
        kept = {name: -(-getattr(self, name) // devices) for name in ("weights", "gradients", "optimizer")}
        return replace(self, **kept)


def training_memory(model: nn.Module, rows: int, *inputs: Tensor) -> TrainingMemory:
    """Memory of a step on `rows` rows like those of `inputs`, of which each has one: a model on the CPU."""
    weights = sum(parameter.numel() for parameter in model.parameters())
    return TrainingMemory(BYTES * weights, BYTES * weights, 2 * BYTES * weights, rows * _saved(model, *inputs))


def _saved(model: nn.Module, *inputs: Tensor) -> int:
    """Bytes that autograd saves of a forward pass."""
    own = {part.untyped_storage()._cdata for part in (*model.parameters(), *model.buffers())}
    saved: dict[int, Tensor] = {}  # the tensors themselves, so that no storage takes the place of another

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            saved[storage._cdata] = tensor
        return tensor

    was_training = model.training
    model.train()
    random = torch.get_rng_state()  # dropout draws, and a plan must not change a run
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(*inputs)
    torch.set_rng_state(random)
    model.train(was_training)
    return sum(tensor.untyped_storage().nbytes() for tensor in saved.values())
