"""Ranges of single values, and whether values agree with each other: one readable line for each mistake."""

from typing import Any

from configs.counted import counted
from configs.errors import UserError
from configs.fields import limits_of
from configs.schema import (
    AVERAGED,
    BLOCKS,
    LAYERS,
    LENGTH_PENALTY,
    LONGEST_SEARCHED,
    BenchmarkConfig,
    EvaluationConfig,
    RunConfig,
    StringsConfig,
)
from configs.strict import leaves


def check_run(config: RunConfig, scales: list[str]) -> None:
    """Raise UserError for the first value of a run config that is out of range or contradicts another."""
    model, data, trainer = config.model, config.data, config.trainer
    _check_ranges(config)
    _check_divides("model.n_heads", model.n_heads, "model.width", model.width)
    for scale, tuned in model.tuned.items():
        if scale not in scales:
            raise UserError(f"model.tuned.{scale}: tuned values belong to a scale; legal are {', '.join(scales)}")
        _check_divides(f"model.tuned.{scale}.n_heads", tuned.n_heads, f"model.tuned.{scale}.width", tuned.width)
    _check_task(config)
    if contradiction := model.contradiction(data.context):
        raise UserError(contradiction)
    if data.source in ("text", "text27") and not data.path:
        raise UserError(f"data={data.source} needs a file: type data={data.source} data.path=FILE")
    if data.source == "wikitext103" and data.tokenizer == "words" and data.raw:
        raise UserError(
            "data.tokenizer=words is of the word-level text, where rare words are <unk>: type data.raw=false too"
        )
    if trainer.max_epochs is None and trainer.max_steps is None:
        raise UserError("trainer.max_epochs and trainer.max_steps are both null: type for example trainer.max_epochs=1")
    if config.task != "translation":  # its batches have no fixed number of rows
        _check_divides("trainer.devices", trainer.devices, "batch_size", config.batch_size)
    windows = config.batch_size // trainer.devices
    if config.task != "translation" and trainer.micro_batch_size is not None and windows % trainer.micro_batch_size:
        raise UserError(
            f"trainer.micro_batch_size={trainer.micro_batch_size} does not divide the {counted(windows, 'window')} "
            f"that batch_size={config.batch_size} gives each of {counted(trainer.devices, 'device')}; type a "
            f"divisor of {windows}"
        )
    if trainer.cuda_graphs:
        for key, asked in (
            ("trainer.micro_batch_size", trainer.micro_batch_size is not None),
            ("trainer.devices", trainer.devices > 1),
            ("trainer.strategy", trainer.strategy != "auto"),
            ("task=translation, whose batches differ in shape", config.task == "translation"),
        ):
            if asked:
                sign = "" if "=" in key else "="
                raise UserError(f"trainer.cuda_graphs=true cannot go with {key}{sign}: leave one of them out")
    if config.compile and trainer.strategy == "fsdp":
        raise UserError("compile=true is not for trainer.strategy=fsdp: leave it out, or type trainer.strategy=ddp")
    if config.compile and config.task == "translation":
        raise UserError("compile=true is for windows of one length, and sentences have many: leave it out")
    # What would change nothing is refused: its record would claim an ablation that did not take place.
    for key, field, value, default in leaves(config):
        needs = limits_of(field).needs
        if needs is not None and value != default and not needs.holds(config):
            raise UserError(f"{key} changes nothing here: it needs {needs.says}; leave it out, or type that too")


def _check_task(config: RunConfig) -> None:
    """UserError where the data is not of the task, or strings cannot be as they are asked for."""
    data, trainer = config.data, config.trainer
    if config.task != data.task:
        asked = {
            "language": "data={0} is {1} for task={2}: type task={2} too",
            "recall": "task=recall recalls strings that are made, and data={0} is {1}: type data=repeat64, "
            "data=repeat6, data=mqar or data=selective_copying",
            "translation": "task=translation translates sentences, and data={0} is {1}: type data=numbers, "
            "data=multi30k or data=wmt14_en_de",
        }[config.task]
        given = {"language": "text", "recall": "strings", "translation": "sentences in pairs"}[data.task]
        raise UserError(asked.format(data.name, given, data.task))
    if not isinstance(data, StringsConfig):
        return
    for key, length in (("data.context", data.context), *(("data.lengths", length) for length in data.lengths)):
        if reason := data.impossible(length):
            raise UserError(f"{key}={length}: {reason}")
    if trainer.max_steps is None:
        raise UserError(
            "task=recall makes new strings without end, so there are no epochs: type trainer.max_steps=1000"
        )


def check_evaluation(config: EvaluationConfig) -> None:
    """Raise UserError for the first value of an evaluation config that is missing, out of range or without use."""
    if not config.run:
        raise UserError("which run? type run=PATH, a run directory such as runs/fsn-1m-stdlib-seed0-0123456789")
    _check_ranges(config)
    for key, field, value, default in leaves(config):
        tasks = limits_of(field).tasks
        if tasks and config.task not in tasks and value != default:
            raise UserError(f"{key}= changes nothing with task={config.task}; leave it out, or type task={tasks[0]}")
    if config.average != AVERAGED and config.checkpoint != "average":
        raise UserError(f"average={config.average} changes nothing here: type checkpoint=average too")
    if config.n_best > config.beam:
        raise UserError(f"n_best={config.n_best} is more than beam={config.beam} finds; type beam={config.n_best} too")
    if config.input is not None:
        usual = EvaluationConfig()
        for key, asked in (
            ("baseline", config.baseline is not None),
            ("split", config.split != usual.split),
            ("data.test", config.data.test is not None),
        ):
            if asked:
                raise UserError(f"{key}= is of a split with references, and input= is text without: leave out one")
    if config.data.test is not None and config.split != "test":
        raise UserError(f"data.test={config.data.test} is for split=test: leave out split={config.split}")
    if config.beam == 1 and config.length_penalty != LENGTH_PENALTY:
        raise UserError("length_penalty= changes nothing with beam=1, which is greedy: leave it out")
    if config.input is None and (config.n_best > 1 or config.scores):
        raise UserError("n_best= and scores= are of lines that are translated: type input=FILE or input=- too")
    _check_other_text(config)


def _check_other_text(config: EvaluationConfig) -> None:
    """UserError for what goes with a split and not with a text of its own, or the other way round."""
    data = config.data
    if data.text is None:
        if data.words is not None:
            raise UserError("data.words= is of another text than the run's: type data.text=FILE too, or leave it out")
        return
    for key, asked in (
        ("split", config.split != EvaluationConfig().split),
        ("data.path", data.path is not None),
        ("data.cache_dir", data.cache_dir is not None),
    ):
        if asked:
            raise UserError(f"{key}= changes nothing with data.text=, which is scored whole; leave one of them out")
    if data.words is not None and config.max_bytes is not None:
        raise UserError("data.words= is of the whole text, and max_bytes= of its start: leave one of them out")


def check_benchmark(config: BenchmarkConfig, models: list[str], scales: list[str]) -> None:
    """Raise UserError for the first value of a benchmark config that is unknown or out of range."""
    _check_ranges(config)
    for key, values, legal, example in (
        ("models", config.models, models, "[transformer,fsn]"),
        ("layers", config.layers, [*LAYERS, *BLOCKS], "[sdpa,ssa]"),
    ):
        if not values or set(values) - set(legal):
            raise UserError(f"{key}={values}: legal are {', '.join(legal)}; type {key}={example}")
    if not config.lengths:
        raise UserError("lengths=[]: takes one length or more; type for example lengths=[512,1024]")
    _check_divides("n_heads", config.n_heads, "d_model", config.d_model)
    if config.task == "layers" and config.d_model // config.n_heads % 2:
        raise UserError(f"d_model={config.d_model} over n_heads={config.n_heads} is an odd head width; type n_heads=8")
    if config.task == "layers" and (config.precision, config.compile) != ("32", False):
        raise UserError("task=layers measures float32 without compile; leave out precision= and compile=")
    if config.task == "translation" and (config.compile or config.context > LONGEST_SEARCHED):
        raise UserError(
            f"task=translation takes sentences of at most {LONGEST_SEARCHED} tokens, without compile: type for example "
            "context=16 batch_size=64"
        )
    if config.task == "inference" and config.compile:
        raise UserError("task=inference measures evaluation and decoding, which are not compiled; leave out compile=")
    if config.task == "scaling":
        _check_scaling(config, scales)
    if config.figure is not None and config.task != "layers":
        raise UserError("figure= is drawn by task=layers; type task=layers too")


def _check_scaling(config: BenchmarkConfig, scales: list[str]) -> None:
    if config.compile:
        raise UserError("task=scaling measures without compile; leave out compile=")
    if not config.widths:
        raise UserError("widths=[]: takes one width or more; type for example widths=[64,128]")
    if not config.scales or set(config.scales) - set(scales):
        raise UserError(f"scales={config.scales}: legal are {', '.join(scales)}; type scales=[250k,1m]")
    for length in config.lengths:
        _check_divides("lengths", length, "context", config.batch_size * config.context)


def _check_ranges(config: Any) -> None:
    """Raise UserError for the first value that its field does not take."""
    for key, field, value, _ in leaves(config):
        limits = limits_of(field)
        rule = limits.rule
        if rule is None:
            continue
        for one in value if isinstance(value, list) and not rule.of_list else [value]:
            if one is not None and not rule.holds(one):
                raise UserError(f"{key}={_shown(one)}: {rule.says}; type for example {key}={_shown(limits.example)}")


def _shown(value: Any) -> str:
    return str(value).replace(" ", "") if isinstance(value, list) else str(value)


def _check_divides(part_key: str, part: int | None, whole_key: str, whole: int | None) -> None:
    if part is None or whole is None or whole % part == 0:
        return
    lower, upper = whole // part * part, (whole // part + 1) * part
    fits = f"{lower} or {upper}" if lower else f"{upper}"
    raise UserError(f"{whole_key}={whole} is not divisible by {part_key}={part}; type for example {whole_key}={fits}")
