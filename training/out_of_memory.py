"""Out of memory: how torch, Python and the system report it, and the one line that a user gets instead."""

import contextlib
import errno
import re
import traceback
from collections.abc import Callable, Iterator

import torch

from configs.errors import UserError
from configs.schema import BenchmarkConfig, EvaluationConfig, RunConfig

# Torch has a class for this on CUDA alone: its allocator of host memory raises RuntimeError.
SAID = re.compile(r"out of memory|not enough memory|(can't|cannot|unable to) allocate|bad_alloc|ALLOC_FAILED", re.I)


class OutOfMemory(UserError):
    """What was asked for takes more memory than there is: a failure, not a mistake in what was typed."""

    exit_code = 1


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or what it was raised from, says that memory is short."""
    while error is not None:
        if isinstance(error, MemoryError | torch.OutOfMemoryError):
            return True
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            return True
        if isinstance(error, RuntimeError) and SAID.search(str(error)):
            return True
        error = error.__cause__
    return False


@contextlib.contextmanager
def out_of_memory_named(named: Callable[[BaseException], str]) -> Iterator[None]:
    """Where memory runs out inside, raise OutOfMemory with the line that `named(error)` gives."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(named(error)) from error


def of_run(config: RunConfig, error: BaseException) -> str:
    """What a training run needed memory for, and what to lower."""
    in_validation = any(frame.name == "_validate" for frame in traceback.extract_tb(error.__traceback__))
    translates = config.task == "translation"
    share = config.batch_size // config.trainer.devices
    windows = config.trainer.micro_batch_size or share
    smaller = [n for n in range(1, windows) if share % n == 0]
    if in_validation or config.trainer.cuda_graphs or not (translates or smaller):
        instead = f"data.context={max(2, config.data.context // 2)} or a smaller scale"
    elif translates:
        instead = f"data.micro_batches={2 * config.data.micro_batches}, the same batch in smaller passes"
    else:
        instead = f"trainer.micro_batch_size={smaller[-1]}, the same batch in smaller passes"
    passes = "" if translates else f" in passes of {windows}"
    return (
        f"out of memory{' in a validation' if in_validation else ''}: model={config.model.name} at "
        f"scale={config.scale.name}, batch_size={config.batch_size}{passes}, data.context={config.data.context}; "
        f"type {instead}"
    )


def of_evaluation(config: EvaluationConfig) -> str:
    """What an evaluation needed memory for, and what to lower."""
    if config.task in ("loss", "copy_depth", "recall", "translate"):
        asked = f"batch_size={config.batch_size}"
        lower = [f"batch_size={config.batch_size // 2}"] if config.batch_size > 1 else []
        if config.task == "translate" and config.beam > 1:
            asked, lower = f"{asked} beam={config.beam}", [*lower, f"beam={config.beam // 2}"]
        elif config.context is not None:
            asked = f"{asked} context={config.context}"
            lower += [f"context={config.context // 2}"] if config.context > 3 else []
    elif config.task == "sample":
        asked, lower = f"length={config.length}", [f"length={config.length // 2}"] if config.length > 1 else []
    else:
        asked, lower = "its windows have the context that the run was trained with", []
    if not lower and torch.cuda.is_available() and config.device != "cpu":
        lower = ["device=cpu"]
    instead = f"type {lower[0]}" if lower else "free memory and type the same command"
    return f"out of memory: run={config.run} task={config.task}, {asked}; {instead}"


def of_benchmark(config: BenchmarkConfig) -> str:
    """What a benchmark needed memory for, and what to lower."""
    if config.task == "layers":
        lengths = ",".join(map(str, sorted(config.lengths)[:-1])) or str(max(config.lengths) // 2)
        return (
            f"out of memory: layers of d_model={config.d_model} at lengths up to {max(config.lengths):,}; "
            f"type lengths=[{lengths}]"
        )
    instead = f"batch_size={config.batch_size // 2}" if config.batch_size > 1 else f"context={config.context // 2}"
    return (
        f"out of memory: {', '.join(config.models)} at scale={config.scale.name}, batch_size={config.batch_size} "
        f"context={config.context}; type {instead}"
    )
