"""The device of a run, and the settings that make the run repeatable on it."""

import os

import torch

from configs.counted import counted
from configs.errors import UserError
from configs.schema import RunConfig
from training.processes.launcher import Place
from training.run_record.environment import cpu_name
from training.run_record.record import Device


def device_kind(config: RunConfig, place: Place) -> str:
    """cpu or cuda. UserError when CUDA devices are asked for that are not there."""
    devices = place.local_size  # on this machine
    wanted, there = config.trainer.accelerator, torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "cuda":
        require_cuda("trainer.accelerator", "trainer.accelerator=cpu")
    kind = "cpu" if wanted == "cpu" or not there else "cuda"
    if kind == "cpu" and config.trainer.cuda_graphs:
        raise UserError("trainer.cuda_graphs=true is for CUDA, and this run is on a CPU; leave it out")
    if kind == "cuda" and devices > there:
        fewer = f"have {place.launcher} start {there}" if place.external else f"type trainer.devices={there}"
        raise UserError(
            f"trainer.devices={config.trainer.devices} puts {counted(devices, 'process', 'processes')} here, on "
            f"{counted(there, 'CUDA device')}: {fewer}, or type trainer.accelerator=cpu"
        )
    return kind


def require_cuda(key: str, instead: str) -> None:
    """UserError when CUDA is asked for, by `key`=cuda, and absent."""
    if not torch.cuda.is_available():
        raise UserError(f"{key}=cuda, but this machine has no CUDA device that torch sees; type {instead}")


def prepare(config: RunConfig, kind: str) -> None:
    """Seed every generator; on a CPU refuse whatever is not deterministic, on CUDA use the tensor cores."""
    if config.trainer.threads is not None:
        torch.set_num_threads(config.trainer.threads)
        if config.trainer.devices > 1:
            os.environ["OMP_NUM_THREADS"] = str(config.trainer.threads)  # else Lightning divides the cores
    if config.plan:  # it draws nothing; Lightning, and the compiler that the next line would load, take seconds
        return
    from lightning import seed_everything

    seed_everything(config.seed, workers=True, verbose=False)
    torch.use_deterministic_algorithms(kind == "cpu")
    if kind == "cpu":
        # Filling memory before it is written would cost time and change nothing.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # torch makes it at import
    else:
        torch.set_float32_matmul_precision("high")  # TF32, as `device` records
        torch.cuda.reset_peak_memory_stats()


def device(config: RunConfig, kind: str) -> Device:
    """The device a run trains on, as its record names it."""
    name = torch.cuda.get_device_name() if kind == "cuda" else cpu_name()
    return Device(kind, name, torch.get_num_threads(), config.trainer.devices, "TF32" if kind == "cuda" else "float32")
