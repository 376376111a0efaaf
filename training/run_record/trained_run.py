"""A run directory as something to evaluate: its model, its data, its record."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from filelock import Timeout
from torch import nn

from configs.compose import resolve_saved
from configs.counted import counted
from configs.errors import UserError
from configs.saved import read_saved
from configs.schema import AVERAGED, EvaluationDataConfig, RunConfig
from data.atomic_write import WriteError
from data.characters import CharacterTokenizer
from data.corpus import Corpus
from data.file_lock import locked
from data.joint_tokenizer import JointTokenizer, joint_tokenizer_of
from data.parallel import ParallelCorpus, open_parallel
from data.sources import open_corpus
from data.strings import Strings
from data.tokenizers import CHARACTERS, ONE_BYTE, Tokenizer, open_tokenizer
from training.attention_backend import set_backend
from training.run_record.checkpoints import (
    load_model,
    newest_whole,
    own_checkpoints,
    read_checkpoint,
    take_mean_weights,
)
from training.run_record.device import require_cuda
from training.run_record.record import RunRecord, load_record, record_path, save_record
from training.run_record.run_data import as_evaluated, data_of_run
from training.run_record.run_directory import LOCK, TOKENIZER

INSTEAD = {  # what a run of a task is, and what to ask it
    "language": "is a language model, of text: type task=loss",
    "recall": "recalls strings, no text: type task=recall",
    "translation": "translates sentences: type task=translate",
}
LOCK_WAIT = 2.0  # seconds; another evaluation holds a record for an instant, a training run to its end


@dataclass(frozen=True)
class TrainedRun:
    """A model and what it was trained on. `config`: resolved, as in the run's config.yaml."""

    folder: Path
    record: RunRecord
    config: RunConfig
    checkpoint: Path
    step: int  # optimizer steps that the checkpoint has behind it
    model: nn.Module
    averaged: int = 0  # checkpoints whose mean weights the model has; 0: those of one

    @property
    def tokenizer_file(self) -> str:
        """The run's own copy of its tokenizer, as `data.tokenizer` takes it; its name where that is all there is."""
        name = self.config.data.tokenizer
        return name if name in ONE_BYTE else str(self.folder / TOKENIZER)

    @property
    def tokenizer(self) -> Tokenizer:
        """How its tokens read as text. UserError where its copy is not what it was trained with."""
        self.require("language")
        if self.config.data.tokenizer == CHARACTERS:  # open_run saw that record and checkpoint have the same
            return CharacterTokenizer(alphabet=self.record.data.tokenizer["characters"].encode("latin-1"))
        tokenizer = open_tokenizer(self.tokenizer_file)
        if tokenizer.sha256 != self.record.data.tokenizer["sha256"]:
            raise UserError(f"{self.tokenizer_file} is not the tokenizer that the run was trained with; restore it")
        return tokenizer

    def corpus(self, moved: EvaluationDataConfig) -> Corpus:
        """The corpus the run was trained on. UserError when what is there now has another hash."""
        self.require("language")
        tokenizer = self.tokenizer_file if self.tokenizer.sha256 else self.tokenizer.name
        with as_evaluated(moved, self.folder):
            data, text = data_of_run(self.config.data, self.record.data, moved, self.folder)
            corpus = open_corpus(replace(data, tokenizer=tokenizer), text)
        if corpus.sha256 != self.record.data.sha256:
            raise UserError(
                f"the data {corpus.name} has changed since the run in {self.folder}: its SHA-256 was "
                f"{self.record.data.sha256[:12]}... and is {corpus.sha256[:12]}...; restore the data it was trained on"
                + ("" if self.config.data.path is None else " or type data.path=FILE")
            )
        if self.record.data.tokenizer.get("tokens_sha256") != corpus.tokens_sha256:
            raise UserError(
                f"{self.tokenizer_file} cuts the text into other tokens than the run in {self.folder} was trained on; "
                "restore it, or install the release of tokenizers in constraints.txt of its commit, "
                f"{(self.record.git.commit or 'unknown')[:7]}"
            )
        return corpus

    @property
    def joint_tokenizer(self) -> JointTokenizer:
        """That of both languages of a translation run. UserError where its copy is not what it was trained with."""
        self.require("translation")
        file = self.folder / TOKENIZER
        try:
            tokenizer = joint_tokenizer_of(file.read_bytes(), self.record.data.tokenizer["name"])
        except OSError as error:
            raise UserError(f"cannot read the tokenizer of the run, {file}: {error.strerror}; restore it") from None
        if tokenizer.sha256 != self.record.data.tokenizer["sha256"]:
            raise UserError(f"{file} is not the tokenizer that the run was trained with; restore it")
        return tokenizer

    def parallel(self, moved: EvaluationDataConfig, split: str) -> ParallelCorpus:
        """The parallel text the run was trained on. UserError where the text of a split is now another: of training,
        or of `split`, unless another test set is asked for.
        """
        self.require("translation")
        tokenizer = self.joint_tokenizer
        with as_evaluated(moved, self.folder):
            data, text = data_of_run(self.config.data, self.record.data, moved, self.folder)
            corpus = open_parallel(data, tokenizer, text)
        before = self.record.data.source["splits_sha256"]
        for name in {"train", split} - ({"test"} if moved.test else set()):
            if corpus.splits_sha256[name] != before[name]:
                raise UserError(
                    f"the {name} split of {corpus.name} has changed since the run in {self.folder}: its SHA-256 was "
                    f"{before[name][:12]}... and is {corpus.splits_sha256[name][:12]}...; restore the data it was "
                    "trained on" + ("" if self.config.data.path is None else " or type data.path=FOLDER")
                )
        return corpus

    def strings(self) -> Strings:
        """The strings the run was trained to recall. UserError where they are now made otherwise."""
        self.require("recall")
        strings = Strings(self.config.data)
        if strings.sha256 != self.record.data.sha256:
            raise UserError(
                f"the strings {self.record.data.name} are made otherwise than when {self.folder} was trained: take the "
                f"code of its commit, {(self.record.git.commit or 'unknown')[:7]}"
            )
        return strings

    def require(self, task: str) -> None:
        """UserError for a run of another task, with what to ask it."""
        if self.config.task != task:
            raise UserError(f"the run in {self.folder} {INSTEAD[self.config.task]}")

    def add_evaluation(self, evaluation: dict[str, Any]) -> None:
        """Append to the record's `evaluations`. While a training run is writing the record, a note says it was not."""
        path = self.folder / "record.json"
        try:
            with locked(self.folder / LOCK, timeout=LOCK_WAIT):
                record = load_record(path)
                record.evaluations.append(evaluation)
                save_record(record, path)
        except Timeout:
            print(f"note: {self.folder} is in training, so this was not added to its record", file=sys.stderr)
        except OSError as error:
            raise WriteError(path, error) from None


def open_run(
    path: str, checkpoint: str = "last", device: str = "auto", ssa_backend: str = "auto", average: int = AVERAGED
) -> TrainedRun:
    """The run in a directory, with the model of its newest whole checkpoint ("last"), of step 0 ("start"), of the
    file `checkpoint`, or with the mean weights ("average") of its last `average` checkpoints of epochs.

    Raises UserError for what is no run, has no whole checkpoint, a checkpoint of another run, an absent device, or an
    `ssa_backend` that cannot run on it.
    """
    record = load_record(path)
    if device == "auto":
        device = record.device.kind if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        require_cuda("device", "device=cpu")
        torch.set_float32_matmul_precision("high")  # as in training
    folder = record_path(path).parent
    config = _read_config(folder / "config.yaml")
    averaged = _last_epochs(folder, average) if checkpoint == "average" else []
    if averaged:
        file: Path | None = averaged[-1]
    else:
        file = newest_whole(folder) if checkpoint in ("last", "start") else _checkpoint_file(folder, checkpoint)
    if file is None:
        raise UserError(f"{folder} has no whole checkpoint yet; let it train on, or type checkpoint=FILE")
    content = read_checkpoint(file)
    if content["config_hash"] != record.config_hash:
        own = file in own_checkpoints(folder)  # also what checkpoint=last and =average take
        instead = "move it away" if own else "type checkpoint=last"
        raise UserError(f"{file} is a checkpoint of another run than {folder}; {instead}")
    of_checkpoint, of_record = content.get("characters"), record.data.tokenizer.get("characters")
    if of_checkpoint != of_record or (getattr(config.data, "tokenizer", None) == CHARACTERS) != isinstance(
        of_record, str
    ):
        raise UserError(f"{file} and {folder / 'record.json'} differ in the characters of the vocabulary; restore them")
    start = checkpoint == "start"
    model, _ = load_model(file, device, start)
    set_backend(model, ssa_backend, device, gradients=False)
    if averaged:
        take_mean_weights(model, averaged)
        name = Path(f"average of {averaged[0].name} to {averaged[-1].name}")
        return TrainedRun(folder, record, config, name, content["global_step"], model, len(averaged))
    if start:
        return TrainedRun(folder, record, config, Path("start"), 0, model)
    return TrainedRun(folder, record, config, file, content["global_step"], model)


def _last_epochs(folder: Path, n: int) -> list[Path]:
    """The checkpoints of the last n epochs, one after another, the newest last. UserError where there are fewer."""
    by_epoch = {int(file.stem.removeprefix("epoch-")): file for file in (folder / "checkpoints").glob("epoch-*.ckpt")}
    last = max(by_epoch, default=0)
    files: list[Path] = []
    while last - len(files) in by_epoch:
        files.insert(0, by_epoch[last - len(files)])
    if len(files) < n:
        instead = f"average={len(files)}" if files else "checkpoint=last"
        raise UserError(
            f"{folder} has the checkpoints of the last {counted(len(files), 'epoch')}, and checkpoint=average takes "
            f"{n}: type {instead}, or train with trainer.checkpoint_epochs=[...] that names the last {n}"
        )
    return files[-n:]


def _checkpoint_file(folder: Path, name: str) -> Path:
    """A path, or the name of one of the run's own checkpoints: epoch-030.ckpt."""
    own = folder / "checkpoints" / name
    return own if own.exists() and not Path(name).exists() else Path(name)


def _read_config(path: Path) -> RunConfig:
    return resolve_saved(read_saved(path), path)
