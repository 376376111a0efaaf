"""A network as two files of data: weights in safetensors, class and arguments in JSON. Nothing in them is run."""

import contextlib
import json
import os
import uuid
from collections.abc import Iterator
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

    Files that are there are replaced once both new ones are whole on the disk. A process that dies in between leaves no
    `config.json` rather than one of other weights.
    """
    library, folder = _safetensors(), Path(folder)
    config = {"network": type(network).__name__, "arguments": network.arguments}
    text = json.dumps(config, indent=2, allow_nan=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().contiguous() for name, tensor in network.state_dict().items()}
    with _temporary(folder) as weights, _temporary(folder) as arguments:
        library.torch.save_file(tensors, weights)
        arguments.write_text(text, encoding="utf-8")
        for path in (weights, arguments):
            with open(path, "rb+") as file:
                os.fsync(file.fileno())
        (folder / ARGUMENTS).unlink(missing_ok=True)
        os.replace(weights, folder / WEIGHTS)
        os.replace(arguments, folder / ARGUMENTS)


def load(kind: type[Network], folder: str | PathLike[str], device: Device = None) -> Network:
    """The network that `save` wrote, of the dtype it had, on a device, by default the CPU.

    Raises ValueError for files of another class or that `save` did not write, FileNotFoundError where there are none,
    RuntimeError for weights that do not fit the arguments, and ImportError as `save` does.
    """
    library, folder = _safetensors(), Path(folder)
    expected = f"{kind.__name__}.load takes a folder with {ARGUMENTS} and {WEIGHTS}, as save() writes it"
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is not a folder: {expected}")
    for name in (ARGUMENTS, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"there is no {folder / name}: {expected}")
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
    try:
        with torch.device("meta"):
            network = kind(**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder / ARGUMENTS} has arguments that {name} does not take: {error}") from None
    network.to_empty(device=place)
    try:
        weights = library.torch.load_file(folder / WEIGHTS, device=str(place))
    except library.SafetensorError as error:
        raise ValueError(f"{folder / WEIGHTS} is not what save() writes: {error}") from None
    try:
        network.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise RuntimeError(f"{folder / WEIGHTS} does not fit {folder / ARGUMENTS}: {reason}") from None
    return network


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    """The name of a file to be made in a folder; what is there at the end is removed."""
    path = folder / f"{uuid.uuid4().hex}.tmp"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _safetensors() -> ModuleType:
    try:
        import safetensors.torch
    except ImportError:
        raise ImportError("save() and load() need safetensors: pip install safetensors") from None
    return safetensors
