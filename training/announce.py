"""The lines a person reads before and after a run."""

from pathlib import Path
from typing import Any

from configs.counted import counted
from configs.schema import RunConfig
from measures.memory import TrainingMemory
from measures.statistics import half_width
from measures.word_perplexity import shown_perplexity
from training.run_record.record import DataInfo, RunRecord
from training.schedule import glanced_bytes, validation_interval

# Of an H100 SXM, dense, by precision: float32 matrix products are in TF32. Operations a second.
PEAK = {"32": 494e12, "bf16": 989e12}
UTILISATION = 0.4  # of that peak which large models reach (our choice)
# Operations a second of one core of a CPU: about the middle of what training steps of the models reached by bench.py at
# scale=1m on an AMD EPYC, 59e9 to 71e9 (results/records/bench/cpu-1m.json and cpu-1m-batch8.json).
CORE = 65e9
COUNTS = ("total", "without_tables")  # of parameters; the others are parts


def plan(
    config: RunConfig,
    record: RunRecord,
    total_steps: int,
    steps_per_epoch: int | None,
    folder: Path,
    memory: TrainingMemory | None = None,
) -> str:
    """What is about to be run; `config` with its shape resolved. With `memory`, of one device, what it takes too."""
    model, optim = config.model, config.optim
    parts = ", ".join(f"{name} {n:,}" for name, n in record.parameters.items() if name not in COUNTS)
    warmup = f"{counted(optim.warmup_steps, 'step')} of warm-up"
    if optim.warmup_steps >= total_steps:
        warmup += f" (as long as the run or longer: type for example optim.warmup_steps={total_steps // 10})"
    rows = {
        "model": f"{model.name}, {counted(model.n_layers, 'layer')}, width {model.width}, "
        f"{counted(model.n_heads, 'head')}, feed-forward {model.ff_width}",
        "parameters": f"{record.parameters['total']:,} ({parts})",
        **({"budget": _budget(record)} if "without_tables" in record.parameters else {}),
        **_training(config, record.data, total_steps, steps_per_epoch),
        **_length(config, steps_per_epoch),
        **_validations(config, record.data, total_steps, steps_per_epoch),
        **({} if memory is None else _cost(config, record, total_steps, steps_per_epoch, memory)),
        "optimizer": f"{optim.name}, learning rate {optim.lr:g}, {optim.schedule}, {warmup}",
        "device": f"{_device(config, record)}, precision {config.precision}",
        "run": str(folder),
    }
    return "\n".join(row(name, text) for name, text in rows.items())


def _device(config: RunConfig, record: RunRecord) -> str:
    device, wanted = record.device, config.trainer.accelerator
    if wanted not in ("auto", device.kind):  # in a plan
        return f"{device.count} {wanted}, not on this machine"
    products = f", float32 products in {device.float32}" if device.float32 != "float32" else ""
    return f"{device.count} {device.kind} ({device.name}), {counted(device.threads, 'thread')}{products}"


def _training(config: RunConfig, data: DataInfo, total_steps: int, steps_per_epoch: int | None) -> dict[str, str]:
    if steps_per_epoch is None:
        return _strings(config, data, total_steps)
    told = _pairs if config.task == "translation" else _corpus
    return told(config, data, total_steps, total_steps / steps_per_epoch)


def _length(config: RunConfig, steps_per_epoch: int | None) -> dict[str, str]:
    """A line where the epochs of a preset would end the run before the steps that were typed, which rule."""
    epochs, steps = config.trainer.max_epochs, config.trainer.max_steps
    if steps is None or epochs is None or steps_per_epoch is None or epochs * steps_per_epoch >= steps:
        return {}
    return {
        "length": f"trainer.max_steps={steps} rules; trainer.max_epochs={epochs} would be "
        f"{counted(epochs * steps_per_epoch, 'step')}"
    }


def _validations(config: RunConfig, data: DataInfo, total_steps: int, steps_per_epoch: int | None) -> dict[str, str]:
    """How often a run validates that was not asked to."""
    every = validation_interval(None, steps_per_epoch, total_steps)
    if config.trainer.val_every is not None or every is None:
        return {}
    glance = glanced_bytes(config.trainer, steps_per_epoch, total_steps)
    first = glance is not None and config.task == "language" and glance < data.bytes["validation"]
    share = f" on the first {glance:,} bytes" if first else ""
    often = "every step" if every == 1 else f"every {every:,} steps"
    return {"validating": f"{often}{share}, and at the end; trainer.val_every=N says otherwise"}


def _pairs(config: RunConfig, data: DataInfo, total_steps: int, epochs: float) -> dict[str, str]:
    pairs, (source, target) = data.source["pairs"], data.source["languages"]
    return {
        "data": f"{data.name}, {source} into {target}, {counted(pairs['train'], 'pair')} of training, "
        f"{pairs['validation']:,} of validation, {pairs['test']:,} of test, sha256 {data.sha256[:12]}",
        "tokens": f"{data.tokenizer['vocabulary_size']:,} tokens of {data.tokenizer['name']} for both languages, "
        f"{data.bytes['train'] / data.tokens['train']:.2f} bytes each in {target}",
        "training": f"{counted(total_steps, 'step')} of at most {config.data.batch_tokens:,} tokens in either "
        f"language, {counted(f'{epochs:.3g}', 'epoch')}, about {epochs * data.tokens['train']:,.0f} tokens of {target}",
    }


def _corpus(config: RunConfig, data: DataInfo, total_steps: int, epochs: float) -> dict[str, str]:
    windows = f"{config.batch_size} x {config.data.context} tokens"
    return {
        "data": f"{data.name}, {counted(data.bytes['train'], 'byte')} of training, {data.bytes['validation']:,} of "
        f"validation, {data.bytes['test']:,} of test, sha256 {data.sha256[:12]}",
        "tokens": _tokens(data),
        **({"overlap": told_overlap(**data.source["overlap"])} if "overlap" in data.source else {}),
        "training": f"{counted(total_steps, 'step')} of {windows}, {counted(f'{epochs:.3g}', 'epoch')}, "
        f"about {epochs * data.tokens['train']:,.0f} tokens",
    }


def _strings(config: RunConfig, data: DataInfo, total_steps: int) -> dict[str, str]:
    strings = config.data
    tokens = total_steps * config.batch_size * strings.context
    others = [str(length) for length in strings.lengths if length != strings.context]
    return {
        "data": f"{data.name}, {strings.alphabet} symbols, strings of {strings.context}, of which "
        f"{data.source['scored']} are scored, sha256 {data.sha256[:12]}",
        "validation": f"{counted(strings.strings, 'string')}, none of training"
        + (f"; at the end of {', '.join(others)} symbols too" if others else ""),
        "training": f"{counted(total_steps, 'step')} of {counted(config.batch_size, 'new string')}, "
        f"{tokens:,} symbols read",
    }


def _cost(
    config: RunConfig, record: RunRecord, total_steps: int, steps_per_epoch: int | None, memory: TrainingMemory
) -> dict[str, str]:
    """What a run takes: operations, hours of a core where it would run on a CPU, hours of one GPU, memory by part."""
    if steps_per_epoch is None:
        tokens = float(total_steps * config.batch_size * config.data.context)
    else:
        tokens = total_steps / steps_per_epoch * record.data.tokens["train"]
    devices = config.trainer.devices
    operations = tokens * record.flops_per_token
    hours = operations / (UTILISATION * PEAK[config.precision]) / 3600
    on_cpu = record.device.kind == "cpu" and config.trainer.accelerator != "cuda"
    core = f"{operations / CORE / 3600:.3g} of one core at {CORE / 1e9:.0f} GFLOP/s, as bench.py found at scale=1m"
    parts = ", ".join(f"{name} {_size(n)}" for name, n in vars(memory).items())
    halved = "; bf16 halves the activations" if config.precision == "bf16" else ""
    return {
        "operations": f"{operations:.3g} in all, {record.flops_per_token:,} a token (matrix products in training)",
        **({"CPU hours": f"{core} on AMD EPYC (results/records/bench)"} if on_cpu else {}),
        "GPU hours": f"{hours:.3g} of an H100 at {UTILISATION:.0%} of {PEAK[config.precision] / 1e12:,.0f} TFLOP/s"
        + (f", {hours / devices:.3g} hours on {devices} of them" if devices > 1 else ""),
        "memory": f"{_size(memory.total)} on {'each of ' if devices > 1 else ''}{counted(devices, 'device')}: "
        f"{parts}{halved}",
    }


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:,.2f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:,.1f} MiB"


def _budget(record: RunRecord) -> str:
    counted = record.parameters["without_tables"]
    return f"{counted:,} parameters without the embedding and readout tables of the vocabulary: what the scale promises"


def _tokens(data: DataInfo) -> str:
    if data.tokenizer["sha256"] is None:
        return f"{data.tokenizer['name']}, {data.tokenizer['vocabulary_size']} of them"
    per_token = data.bytes["train"] / data.tokens["train"]
    vocabulary = f"{data.tokenizer['vocabulary_size']:,} tokens of {data.tokenizer['name']}"
    return f"{vocabulary}, {per_token:.2f} bytes each in training"


def told_overlap(share: float, length: int, stride: int) -> str:
    """How much of validation was seen in training, as `data/overlap.py` counted it."""
    every = "" if stride == 1 else f" (one in {stride} looked at)"
    return f"{share:.1%} of the {length}-byte strings of validation occur in training{every}"


def row(name: str, text: str) -> str:
    """One line of a plan."""
    return f"{name:<11} {text}"


def _interval(row: dict[str, Any]) -> str:
    """The 95 % interval of a validation row. Older rows have none: their error is over single windows, and too
    small.
    """
    if row.get("blocks") is None or row["standard_error"] is None:
        return ""
    return f" ± {half_width(row['standard_error'], row['blocks']):.4f} (95 % over the text)"


def outcome(record: RunRecord, folder: Path) -> str:
    """What came out of a run that is done."""
    final = record.final or {}
    after = f"after {counted(final['step'], 'step')}, {record.throughput.tokens_per_second:,.0f} tokens/s: {folder}"
    if "accuracy" in final:
        return (
            f"accuracy {final['accuracy']:.4f}, {final['nats']:.4f} nats per scored symbol on "
            f"{counted(final['strings'], 'string')} of {final['context']} symbols{_other_lengths(final)} {after}"
        )
    if "pairs" in final:
        return (
            f"{final['bits_per_byte']:.4f} bits/byte{_interval(final)}, {final['nats']:.4f} nats per token of "
            f"{counted(final['pairs'], 'translation')} {after}"
        )
    whole = record.data.bytes["validation"]
    share = f"all {whole:,}" if final["bytes"] == whole else f"the first {final['bytes']:,} of {whole:,}"
    loss = f"{final['bits_per_byte']:.4f} bits/byte{_interval(final)}{_by_word(final)}"
    return f"{loss} on {share} validation bytes {after}"


def _by_word(row: dict[str, Any]) -> str:
    """The perplexity per word, where a row has it."""
    if "word_perplexity" in row:
        return f", perplexity {shown_perplexity(row['word_perplexity'])} per word"
    normalised = row.get("word_normalised_perplexity")
    return "" if normalised is None else f", word-normalised perplexity {shown_perplexity(normalised)}"


def _other_lengths(final: dict[str, Any]) -> str:
    others = [at for at in final.get("lengths", []) if at["context"] != final["context"]]
    return "".join(f", {at['accuracy']:.4f} on strings of {at['context']}" for at in others)
