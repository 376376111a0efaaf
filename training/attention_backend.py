"""Which form of Selective Synchronization Attention a run computes: `ssa.backend` asks for it, the record names it."""

from torch import nn

from configs.errors import UserError
from ssa import SelectiveSynchronizationAttention
from ssa.backends import choose, describe, fallen_back


def attentions(model: nn.Module) -> list[SelectiveSynchronizationAttention]:
    """The model's layers of Selective Synchronization Attention."""
    return [module for module in model.modules() if isinstance(module, SelectiveSynchronizationAttention)]


def set_backend(model: nn.Module, backend: str, device: str, gradients: bool) -> None:
    """Have every layer take `backend` on a device type. UserError for one that cannot run there, or finds no layer."""
    layers = attentions(model)
    if backend != "auto" and not layers:
        raise UserError(f"ssa.backend={backend} is for model=osn, and this model has no such layer; leave it out")
    for layer in layers:
        try:
            choose(backend, device, gradients, layer.top_k, layer.widest)
        except ValueError as error:
            reason = str(error).partition(" ")[2].partition(";")[0]
            raise UserError(f"ssa.backend={backend} {reason}; type ssa.backend=auto") from None
        layer.backend = backend


def backends(model: nn.Module, device: str, windows: int, context: int) -> dict[str, str]:
    """What trains and what evaluates, for the record. Empty without such a layer.

    `windows`: those of a forward pass of training.

    Compiles what training will need, which takes some seconds.
    """
    layers = attentions(model)
    if not layers:
        return {}
    n_pairs = windows * layers[0].n_heads * context**2
    return describe(layers[0].backend, device, n_pairs, layers[0].top_k, layers[0].widest)


def evaluated_by(model: nn.Module, device: str) -> dict[str, str]:
    """`ssa`: the form that evaluated a model on a device type, for the record. Empty without such a layer."""
    layers = attentions(model)
    if not layers:
        return {}
    used = choose(layers[0].backend, device, False, layers[0].top_k, layers[0].widest)
    return {"ssa": fallen_back().get("evaluation", used)}
