"""Checkpoints: written whole or not at all, found again after any crash, and loaded as data, never as code."""

import io
import itertools
import os
import pickle
import re
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import nn
from torch.distributed.tensor import DTensor

from configs.compose import NOT_IN_HASH_AT_DEFAULT, resolve_saved
from configs.errors import UserError
from configs.printable import in_one_line
from configs.schema import RunConfig
from data.atomic_write import TEMPORARY, sync_file, write_atomically, write_errors
from training.build import build_model
from training.meter import NonFiniteError
from training.out_of_memory import OutOfMemory, is_out_of_memory

KEYS = {  # that every checkpoint has, with their types
    "state_dict": dict,
    "optimizer_states": list,
    "loops": dict,
    "global_step": int,
    "meter": dict,
    "config": dict,
    "config_hash": str,
    "data_sha256": str,
    "vocabulary_size": int,
}
OWN = re.compile(r"(last|previous|epoch-\d+)\.ckpt")  # the names that `Checkpoints` gives


class DamagedError(UserError):
    """A file that was read and is not a whole checkpoint. Nothing is known of a file that could not be read."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, atomic and read with `weights_only=True`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_atomically(Path(path), buffer.getbuffer())

    def load_checkpoint(self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True) -> Any:
        return torch.load(path, map_location=map_location, weights_only=True)


class Checkpoints:
    """Writes `last.ckpt` every `every` steps and at the end (the one before stays as `previous.ckpt`).

    At the end of each epoch in `epochs` it also keeps `epoch-030.ckpt`. `extra` (config, hashes) goes into every
    checkpoint. A state that is not finite is never written: NonFiniteError.
    """

    def __init__(
        self,
        folder: Path,
        every: int,
        epochs: list[int],
        steps_per_epoch: int | None,
        total_steps: int,
        extra: dict[str, Any],
    ) -> None:
        self.folder = folder
        self.every = every
        self.kept = {epoch * steps_per_epoch: epoch for epoch in epochs} if steps_per_epoch else {}
        self.total_steps = total_steps
        self.extra = extra
        self.saved_step: int | None = None

    def due(self, step: int) -> bool:
        """Whether the state after `step` optimizer steps is saved."""
        return step % self.every == 0 or step in self.kept or step == self.total_steps

    def save(self, trainer: L.Trainer) -> None:
        """Write the present state as `last.ckpt`, unless that is there already. All processes must call this."""
        step = trainer.global_step
        if self.saved_step == step:
            return
        check_finite(trainer, step)
        new = self.folder / "new.tmp"  # not a name that `newest_whole` looks at
        trainer.save_checkpoint(new, weights_only=False)
        if trainer.is_global_zero:
            self._name(new, self.kept.get(step))
        self.saved_step = step

    def _name(self, new: Path, epoch: int | None) -> None:
        """new -> last, last -> previous; at every moment between, at least one of them is whole.

        That holds because a run begins with a last.ckpt that is whole, or with none: see `set_aside_damaged`.
        """
        last = self.folder / "last.ckpt"
        with write_errors(last):
            if last.exists():
                link(last, self.folder / "previous.ckpt")
            if epoch is not None:
                link(new, self.folder / f"epoch-{epoch:03d}.ckpt")
            os.replace(new, last)
            sync_file(self.folder)


def link(source: Path, target: Path) -> None:
    """Give a file a second name, atomically; copies where the file system has no links."""
    temporary = target.with_name(target.name + ".tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        write_atomically(target, source.read_bytes())
    else:
        os.replace(temporary, target)
        # rename(2) does nothing when both names already are the same file.
        temporary.unlink(missing_ok=True)


def check_finite(trainer: L.Trainer, step: int) -> None:
    """NonFiniteError when a weight or a moment of the optimizer is not finite, naming the first such weight.

    Of weights in parts each process looks at its own; all raise alike. All processes must call this.
    """
    names, bad = [], []
    for name, parameter in trainer.lightning_module.named_parameters():
        moments = [m for optimizer in trainer.optimizers for m in optimizer.state.get(parameter, {}).values()]
        parts = [value.to_local() if isinstance(value, DTensor) else value for value in (parameter, *moments)]
        names.append(name)
        bad.append(torch.stack([~torch.isfinite(part).all().to(parameter.device) for part in parts]).any())
    found = torch.stack(bad).int()
    if trainer.world_size > 1:
        dist.all_reduce(found, dist.ReduceOp.MAX)
    if bool(found.any()):
        raise NonFiniteError(f"{names[int(found.argmax())]} is not finite after step {step}; try a smaller optim.lr")


def remove_half_written(run_dir: Path) -> None:
    """Remove what a killed process left half-written in a run directory that this process holds."""
    folder = run_dir / "checkpoints"
    made_here = (TEMPORARY, "new.tmp", "*.ckpt.tmp")
    for leftover in (*run_dir.glob(TEMPORARY), *(path for name in made_here for path in folder.glob(name))):
        leftover.unlink()


def own_checkpoints(run_dir: Path) -> list[Path]:
    """The checkpoints of a run directory that the run itself wrote."""
    return sorted(path for path in (run_dir / "checkpoints").glob("*.ckpt") if OWN.fullmatch(path.name))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content, after its checksums were verified.

    Raises DamagedError for a file that is damaged or something else, OutOfMemory, and UserError for one that cannot be
    read.
    """
    try:
        _verify_checksums(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"there is no checkpoint at {path}") from None
    except UserError:
        raise
    except pickle.UnpicklingError:
        # Torch's own words advise to read it without weights_only, which would run what it holds.
        raise DamagedError(
            f"{path} is not a checkpoint of this project: it holds objects other than tensors, numbers and text, which "
            "could run code; none of it was run"
        ) from None
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        if is_out_of_memory(error):
            raise OutOfMemory(
                f"too little memory is free to read {path} ({path.stat().st_size:,} bytes); it is left as it is: free "
                "memory and type the same command"
            ) from None
        if isinstance(error, OSError):
            raise UserError(f"cannot read {path}: {error.strerror or error}") from None
        # Torch raises RuntimeError for whatever a machine lacks too: it must say that it is about the file.
        if isinstance(error, RuntimeError) and "PytorchStreamReader" not in str(error):
            raise UserError(f"cannot read {path}: {reason}; it is left as it is") from None
        raise DamagedError(f"{path} is damaged or not a checkpoint: {reason}") from None
    if fault := _fault(content):
        raise DamagedError(f"{path} {fault}")
    return dict(content)


def _verify_checksums(path: Path) -> None:
    """Raises DamagedError, and what the system says where the file cannot be read: torch.load looks at no checksum."""
    try:
        with zipfile.ZipFile(path) as archive:
            packed = any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist())
            wrong = None if packed else archive.testzip()
    except (OSError, MemoryError):
        raise
    except Exception as error:  # zipfile raises half a dozen kinds for the same fact
        if is_out_of_memory(error):
            raise
        raise DamagedError(f"{path} is damaged or not a checkpoint: {error}") from None
    if packed:
        raise DamagedError(f"{path} is not a checkpoint of this project: it is compressed, as torch.save writes none")
    if wrong is not None:
        raise DamagedError(f"{path} is damaged: the checksum of {wrong} is wrong")


def _fault(content: Any) -> str | None:
    """Why a file that torch could load is not a checkpoint of a run; None where it is one."""
    if not isinstance(content, dict) or not all(isinstance(content.get(key), kind) for key, kind in KEYS.items()):
        return "is not a checkpoint of this project"
    weights = content["state_dict"]
    plain = (isinstance(value, torch.Tensor) and value.layout is torch.strided for value in weights.values())
    if not all(isinstance(name, str) for name in weights) or not all(plain):
        return "is not a checkpoint of this project: its weights are no tensors"
    if not (0 <= content["global_step"] < 2**63 and 0 < content["vocabulary_size"] < 2**63):
        return "is not a checkpoint of this project: its step or its vocabulary is impossible"
    broken = (name for name, value in weights.items() if not bool(torch.isfinite(value).all()))
    if name := next(broken, None):
        return f"is damaged: {name.removeprefix('model.')} is not finite"
    return None


def set_aside_damaged(run_dir: Path) -> None:
    """Rename every damaged checkpoint to *.ckpt.damaged-N, so that none takes the place of the whole one before it.

    Raises UserError for one that cannot be read at all, which may be whole, and WriteError.
    """
    for path in own_checkpoints(run_dir):
        try:
            read_checkpoint(path)
        except DamagedError as error:
            names = (path.with_name(f"{path.name}.damaged-{n}") for n in itertools.count(1))
            aside = next(name for name in names if not name.exists())
            print(in_one_line(f"warning: {error}; skipped, it is now {aside.name}"), file=sys.stderr)
            with write_errors(aside):
                os.replace(path, aside)


def newest_whole(run_dir: Path) -> Path | None:
    """The checkpoint to go on from: the one with the most steps that is whole. Damaged ones are named on stderr.

    Raises UserError for one that cannot be read: it may be whole, and newer than the others.
    """
    whole = []
    for path in own_checkpoints(run_dir):
        try:
            whole.append((read_checkpoint(path)["global_step"], path.name == "last.ckpt", path))
        except DamagedError as error:
            print(in_one_line(f"warning: {error}; skipped"), file=sys.stderr)
    return max(whole)[-1] if whole else None


def load_model(path: Path, device: str | torch.device = "cpu", start: bool = False) -> tuple[nn.Module, dict[str, Any]]:
    """The model of a checkpoint, on `device` and in eval mode, and its resolved config as a plain dict.

    With `start` the weights are those of the run's step 0, drawn again from its seed.

    Raises UserError for a file that is no whole checkpoint, or one whose weights do not fit its model.
    """
    content = read_checkpoint(Path(path))
    config = resolve_saved(content["config"], path)
    if start:
        return _at_start(path, config, content).to(device).eval(), content["config"]
    require_weights_of(config, content, path)
    model = build_model(config.model, content["vocabulary_size"], config.task)
    model.load_state_dict(_weights(content))
    return model.to(device).eval(), content["config"]


def require_weights_of(config: RunConfig, content: dict[str, Any], path: Path) -> None:
    """UserError unless a checkpoint holds the weights of the model of a config.

    The model is built without memory for it: a config may ask for any width.
    """
    theirs = {name: value.shape for name, value in _weights(content).items()}
    try:
        if config.model.n_layers is not None and config.model.n_layers > len(theirs):  # each layer has weights
            raise ValueError(f"model.n_layers={config.model.n_layers:,} are more than it has tensors")
        with torch.device("meta"):
            model = build_model(config.model, content["vocabulary_size"], config.task)
        ours = {name: value.shape for name, value in model.state_dict().items()}
        for name in sorted(ours.keys() | theirs.keys()):
            if ours.get(name) != theirs.get(name):
                shapes = [tuple(of[name]) if name in of else "absent" for of in (theirs, ours)]
                raise ValueError(f"{name} is {shapes[0]} there and {shapes[1]} by the config")
    except (ValueError, RuntimeError, OverflowError, MemoryError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{path} holds the weights of another model than its config: {reason}") from None


def _weights(content: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name.removeprefix("model."): value for name, value in content["state_dict"].items()}


@torch.no_grad()
def take_mean_weights(model: nn.Module, paths: Sequence[Path]) -> None:
    """Give the model the mean of the weights of checkpoints of one run, summed in float64. UserError for others."""
    hashes, sums = set(), {name: torch.zeros_like(value, dtype=torch.float64) for name, value in _floats(model)}
    for path in paths:
        content = read_checkpoint(path)
        hashes.add(content["config_hash"])
        weights = _weights(content)
        if len(hashes) > 1 or any(name not in weights or weights[name].shape != sums[name].shape for name in sums):
            raise UserError(f"{paths[0]} and {path} are checkpoints of different runs; name one of them")
        for name, value in sums.items():
            value += weights[name].to(value)
    for name, value in _floats(model):
        value.copy_(sums[name] / len(paths))


def _floats(model: nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [(name, value) for name, value in model.state_dict().items() if value.is_floating_point()]


def _at_start(path: Path, config: RunConfig, content: dict[str, Any]) -> nn.Module:
    """The model as the run's seed draws it. UserError where today's code would draw other weights than the run began
    with.
    """
    L.seed_everything(config.seed, workers=True, verbose=False)
    model = build_model(config.model, content["vocabulary_size"], config.task)
    saved = {name.removeprefix("model."): value.shape for name, value in content["state_dict"].items()}
    drawn = {name: value.shape for name, value in model.state_dict().items()}
    newer = vars(config.model).keys() - content["config"]["model"].keys()
    # A key with the value that runs had before there was one draws nothing.
    unknown = sorted(k for k in newer if vars(config.model)[k] != NOT_IN_HASH_AT_DEFAULT.get(f"model.{k}", ...))
    if unknown or saved != drawn:
        reason = f"it knows no model.{unknown[0]}" if unknown else "its weights have other shapes"
        raise UserError(f"{path} is of a run by older code, whose start cannot be drawn again: {reason}")
    return model
