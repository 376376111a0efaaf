"""What happens around every training step, in this order: measure, checkpoint, validate, stop if asked.

The checkpoint comes before the validation, so a crash while validating loses nothing: the resumed run finds that
the validation of its step is missing, and makes it first.
"""

from typing import Any

import lightning as L
import torch

from measures.by_head import ByHead, warnings
from training.compiler import as_compiled_before
from training.meter import Meter
from training.progress import Progress
from training.recall import RecallValidation
from training.run_record.checkpoints import Checkpoints
from training.run_record.recorder import Recorder
from training.sharded import whole_weights
from training.signals import GracefulStop, Interrupted
from training.step import TrainingModule
from training.translation import TranslationValidation
from training.validation import Validation


class Loop(L.Callback):
    """The one callback of a run; it owns the order, the others do the work.

    Raises Interrupted after a signal, and NonFiniteError.
    """

    def __init__(
        self,
        meter: Meter,
        checkpoints: Checkpoints,
        validation: Validation | RecallValidation | TranslationValidation,
        recorder: Recorder,
        progress: Progress,
        stop: GracefulStop,
        compiled: bool = False,
    ) -> None:
        self.meter = meter
        self.checkpoints = checkpoints
        self.validation = validation
        self.recorder = recorder
        self.progress = progress
        self.stop = stop
        self.compiled = compiled

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        self.progress.rank = trainer.global_rank
        self.stop.install()
        self.stop.deferred = True
        self.meter.start()
        if trainer.global_step == 0:
            with self.meter.paused(), whole_weights(pl_module):
                if trainer.is_global_zero:
                    self._look_at_start(pl_module)
        self._validate_and_stop(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, TrainingModule)
        if not pl_module.ends_step(batch_idx):
            return
        row = self.meter.measure(trainer, pl_module, batch)
        if row is not None:
            self.recorder.add(row)
        speed = self.meter.tokens_per_second
        self.progress.step(trainer.global_step, self.meter.losses(), speed, self.meter.tokens)
        if self.checkpoints.due(trainer.global_step):
            self._checkpoint(trainer)
        self._validate_and_stop(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.meter.stop()
        self.stop.deferred = False

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["meter"] = self.meter.state_dict()
        checkpoint["rng"] = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            checkpoint["rng"]["cuda"] = torch.cuda.get_rng_state()
        checkpoint.update(self.checkpoints.extra)

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self.meter.load_state_dict(checkpoint["meter"])
        torch.set_rng_state(checkpoint["rng"]["cpu"])
        if "cuda" in checkpoint["rng"] and torch.cuda.is_available():
            torch.cuda.set_rng_state(checkpoint["rng"]["cuda"])
        self.checkpoints.saved_step = checkpoint["global_step"]

    def _checkpoint(self, trainer: L.Trainer) -> None:
        self.progress.doing("writing the checkpoint")
        with self.meter.paused():
            self.recorder.save(self.meter)  # first, so that the rows on the disk are never behind a checkpoint
            self.checkpoints.save(trainer)

    def _validate_and_stop(self, trainer: L.Trainer, pl_module: TrainingModule) -> None:
        step = trainer.global_step
        try:
            if self.validation.due(step) and not trainer.strategy.broadcast(self.recorder.has_validation(step)):
                with self.meter.paused(), whole_weights(pl_module):
                    self._validate(pl_module, step, trainer.global_rank, trainer.world_size)
            if signum := self.stop.requested(trainer):
                raise Interrupted(signum)
        except Interrupted:
            self._checkpoint(trainer)
            raise

    def _look_at_start(self, module: TrainingModule) -> None:
        with as_compiled_before(self.compiled):
            synchrony = self.validation.synchrony(module.model)
        self.recorder.record.synchrony_at_start = synchrony
        self._warn(0, synchrony)

    def _warn(self, step: int, synchrony: ByHead) -> None:
        for line in warnings(synchrony, self.validation.context):
            self.progress.warn(step, line)

    def _validate(self, module: TrainingModule, step: int, rank: int = 0, world_size: int = 1) -> None:
        def on_progress(done: int, total: int) -> None:
            self.progress.validation(done, total)
            if world_size == 1:  # several processes must stop together, at the end of the step
                self.stop.check()

        with as_compiled_before(self.compiled):
            row = self.validation.row(module.model, step, self.meter.tokens, on_progress, rank, world_size)
        self.recorder.add(row)
        if rank == 0:
            self._warn(step, row.get("synchrony", {}))
        self.recorder.save(self.meter)

    def complete(self, module: TrainingModule, device: torch.device) -> None:
        """Make the last validation, if the run was cut off between its last checkpoint and that."""
        if not self.recorder.has_validation(self.validation.total_steps):
            module.to(device)
            self._validate(module, self.validation.total_steps)
