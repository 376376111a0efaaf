"""A network as two files of data: weights in safetensors, class and arguments in JSON. Nothing in them is run."""

import json
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import torch
from torch.types import Device

from synchrony_blocks.configured import Configured

ARGUMENTS, WEIGHTS = "config.json", "model.safetensors"

Network = TypeVar("Network", bound=Configured)


def save(network: Configured, folder: str | PathLike[str]) -> None:
    """Write both files into a folder, which is made. ImportError where safetensors is missing, TypeError for arguments
    that JSON has no form for.
    """
    library, folder = _safetensors(), Path(folder)
    config = {"network": type(network).__name__, "arguments": network.arguments}
    text = json.dumps(config, indent=2, allow_nan=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ARGUMENTS).write_text(text, encoding="utf-8")
    weights = {name: tensor.detach().contiguous() for name, tensor in network.state_dict().items()}
    library.save_file(weights, folder / WEIGHTS)


def load(kind: type[Network], folder: str | PathLike[str], device: Device = None) -> Network:
    """The network that `save` wrote, of the dtype it had, on a device, by default the CPU.

    Raises ValueError for a file of another class or that is no such file, FileNotFoundError where there is none,
    RuntimeError for weights that do not fit the arguments, and ImportError as `save` does.
    """
    library, folder = _safetensors(), Path(folder)
    try:
        config = json.loads((folder / ARGUMENTS).read_text(encoding="utf-8"))
        name, arguments = config["network"], dict(config["arguments"])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{folder / ARGUMENTS} is not what save() writes: {error!r}") from None
    if name != kind.__name__:
        raise ValueError(
            f"{folder} holds a network of class {name}: load it with {name}.load, not {kind.__name__}.load"
        )
    place = torch.device("cpu" if device is None else device)
    with torch.device("meta"):
        network = kind(**arguments)
    network.to_empty(device=place)
    network.load_state_dict(library.load_file(folder / WEIGHTS, device=str(place)), assign=True)
    return network


def _safetensors() -> ModuleType:
    try:
        import safetensors.torch
    except ImportError:
        raise ImportError("save() and load() need safetensors: pip install safetensors") from None
    return safetensors.torch
