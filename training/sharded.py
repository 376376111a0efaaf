"""Weights, gradients and the optimizer's moments in parts, one on each process: trainer.strategy=fsdp.

PyTorch's `fully_shard` (FSDP2; Zhao et al. 2023, arXiv 2304.11277) cuts every parameter along its first dimension. A
layer's weights are gathered while it is used, and its gradients are averaged into the parts. Lightning's own strategies
for it refuse a CPU, or name the optimizer's state otherwise; this one is its DDP with another wrapper. Checkpoints are
those of one device, so that a run goes on with any strategy on any number of devices.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from training.step import TrainingModule

LAYERS = ("layers", "encoder")  # the lists of blocks in synchrony_blocks/decoder.py and synchrony_blocks/translator.py


class ShardedStrategy(DDPStrategy):
    """Lightning's DDP, except that every process keeps a part of each weight. Weights are loaded before they are
    cut.
    """

    def model_to_device(self) -> None:
        """Nothing yet: each layer goes to the device as it is cut, so that a device never holds the whole model."""

    def configure_ddp(self) -> None:
        """Cut the weights: each block by itself, and the others together, which stay gathered during a step."""
        module: Any = self.lightning_module
        self._scalars = _as_vectors(module)
        mesh = init_device_mesh(self.root_device.type, (self.world_size,))
        cut: list[Any] = [fully_shard(part, mesh=mesh) for part in _blocks(module)]
        cut = [fully_shard(module, mesh=mesh, reshard_after_forward=False), *cut]
        # In backward passes each gathers the one before. By itself PyTorch follows the forward passes that it saw, and
        # in a validation each process makes its own.
        for index, part in enumerate(cut):
            part.set_modules_to_backward_prefetch([cut[index - 1]])
        register_fsdp_forward_method(module, "training_step")

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """All weights, whole, on the CPU. All processes must call this; only the first one gets them."""
        assert self.lightning_module is not None
        return {name: self._whole(value, name) for name, value in self.lightning_module.state_dict().items()}

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The state as on one device, of which the first process gets the moments. All processes must call this."""
        if isinstance(optimizer, LightningOptimizer):
            optimizer = optimizer.optimizer
        by_parameter = {id(parameter): name for name, parameter in self._parameters()}
        names = [by_parameter[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
        state = optimizer.state_dict()  # its inner dicts are the optimizer's own
        moments = {
            number: {key: self._whole(value, names[number]) for key, value in of_parameter.items()}
            for number, of_parameter in state["state"].items()
        }
        return {**state, "state": moments}

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Of a whole state this process's parts."""
        states = []
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            parts = {
                number: {
                    key: _part(value, parameters[number]) if key != "step" else value
                    for key, value in of_parameter.items()
                }
                for number, of_parameter in state["state"].items()
            }
            states.append({**state, "state": parts})
        super().load_optimizer_state_dict({"optimizer_states": states})

    def _parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        assert self.lightning_module is not None
        return self.lightning_module.named_parameters()

    def _whole(self, value: Any, parameter: str) -> Any:
        if not isinstance(value, DTensor):
            return value
        whole = value.full_tensor()
        if not self.is_global_zero:
            return whole.new_empty(0)
        return whole.cpu().reshape(()) if parameter in self._scalars else whole.cpu()


def _blocks(module: nn.Module) -> list[nn.Module]:
    lists = [part for name, part in module.named_modules() if name.rpartition(".")[2] in LAYERS]
    return [block for part in lists if isinstance(part, nn.ModuleList) for block in part]


def _as_vectors(module: nn.Module) -> set[str]:
    """Give each 0-d parameter a dimension, along which it can be cut; their names."""
    scalars = {name: parameter for name, parameter in module.named_parameters() if parameter.ndim == 0}
    for name, parameter in scalars.items():
        owner, _, own = name.rpartition(".")
        setattr(module.get_submodule(owner), own, nn.Parameter(parameter.detach().reshape(1)))
    return set(scalars)


def _part(whole: Tensor, parameter: Any) -> Tensor:
    """This process's part of a tensor that belongs to a parameter, cut as that is."""
    if not isinstance(parameter, DTensor):
        return whole
    whole = whole.reshape(parameter.shape).to(parameter.device)
    return distribute_tensor(whole, parameter.device_mesh, parameter.placements, src_data_rank=None)


@contextlib.contextmanager
def whole_weights(module: TrainingModule) -> Iterator[None]:
    """Every process holds all weights meanwhile, so that it may use the model alone and as often as it likes.

    Nothing changes for a model that is not cut. All processes must enter and leave this together.
    """
    cut = [part for part in module.modules() if isinstance(part, FSDPModule)]
    if not cut:
        yield
        return
    with torch.no_grad():
        module()  # the first use has to be of the whole
    blocks = [part for part in cut if part is not module]
    try:
        for part in cut:
            part.unshard()
        for part in blocks:
            part.set_reshard_after_forward(False, recurse=False)
        yield
    finally:
        for part in blocks:
            part.set_reshard_after_forward(True, recurse=False)
        for part in cut:
            part.reshard()
