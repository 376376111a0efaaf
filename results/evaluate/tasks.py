"""What `eval.py` can be asked of a trained run, one function a task: print it, and add it to the run's record."""

import sys
from collections.abc import Callable
from dataclasses import asdict

from configs.counted import counted
from configs.errors import UserError
from configs.printable import printable
from configs.schema import EvaluationConfig
from measures.loss import Evaluation
from measures.word_perplexity import by_word, shown_perplexity, words_in
from training.attention_backend import evaluated_by
from training.evaluated_split import SplitEvaluation
from training.run_record.trained_run import TrainedRun, open_run


def _open(config: EvaluationConfig) -> TrainedRun:
    assert config.run is not None, "checked with the config"
    run = open_run(config.run, config.checkpoint, config.device, config.ssa.backend, config.average)
    if run.config.task == "translation" and config.task != "translate":
        run.require("language")
    return run


def loss(config: EvaluationConfig) -> None:
    """Print the model's loss on a split, and add it to the run's record."""
    from measures.loss import evaluate
    from measures.statistics import half_width
    from training.evaluated_split import open_split

    asked = open_split(config)
    run, result = asked.run, asked.go(evaluate, stride=config.stride)
    print(f"run             {run.folder}")
    print(f"checkpoint      {run.checkpoint} (step {run.step:,})")
    counts = f"{counted(result.bytes, 'byte')}, {counted(result.targets, 'target')}"
    what = "split" if asked.other is None else "text"
    print(f"{what:<16}{asked.name}, {counts}, {counted(result.windows, 'window')}")
    print(f"context         {asked.context} tokens, {_windows(asked.context, config.stride)}")
    print(f"nats            {result.nats:.6f} per target")
    print(f"bits per byte   {result.bits_per_byte:.6f}")
    of_words = _by_word(asked, result)
    # For a model of bytes on another text, bits per byte say it all, unless a published count of words was given.
    if asked.other is None or run.tokenizer.sha256 is not None or config.data.words is not None:
        for key, value in of_words.items():
            print(PER_WORD[key].format(value if key == "words" else shown_perplexity(value)))
    if config.data.words is not None:
        print(f"                by data.words; as it lies here the text has {words_in(asked.text):,}")
    if result.standard_error is None:
        print(f"interval        none: {counted(result.blocks, 'block')} of text: too few")
    else:
        half = half_width(result.standard_error, result.blocks)
        print(f"95 % interval   ± {half:.6f} bits per byte, over {result.blocks} contiguous blocks of the text")
    final = run.record.final
    if (
        final is not None
        and asked.other is None
        and (config.split, run.step) == ("validation", final["step"])
        and result.bytes != final["bytes"]
        and config.stride is None
    ):
        print(
            f"in training     {final['bits_per_byte']:.6f} bits per byte on the first {final['bytes']:,} bytes; "
            f"type max_bytes={final['bytes']} for the same"
        )
    run.add_evaluation(asked.entry() | {"stride": config.stride} | asdict(result) | of_words)


# What is printed of each key that an entry has of words.
PER_WORD = {
    "words": "words           {:,} in that text, one <eos> a line among them",
    "word_perplexity": "perplexity      {} per word",
    "word_normalised_perplexity": "perplexity      {}, word-normalised: exp(total nats / words)",
}


def _by_word(asked: SplitEvaluation, result: Evaluation) -> dict[str, int | float]:
    """Words of the text that was scored, and the perplexity per word; empty where words are not counted."""
    if not asked.counts_words:
        return {}
    text = asked.text[: result.bytes]
    return by_word(text, asked.of_words, result.nats, result.targets, asked.config.data.words)


def _windows(context: int, stride: int | None) -> str:
    if stride is None or stride == context:
        return (
            f"each window begins anew; stride={max(1, context // 4)} lets windows slide, as some published numbers do"
        )
    return f"windows slide by {stride}: each target has {context - stride} tokens before it or more"


def copy_depth(config: EvaluationConfig) -> None:
    """Print the loss of bytes by the length of the match in their context, and add the sums to the record."""
    from measures.copy_depth import by_copy_depth
    from results.document import markdown
    from results.tables.copy_depth import rows_of_one
    from training.evaluated_split import open_split

    asked = open_split(config)
    run, result = asked.run, asked.go(by_copy_depth)
    entry = {"task": "copy_depth"} | asked.entry() | result.entry()
    print(f"{run.folder}, {run.checkpoint.name} (step {run.step:,}), {config.split}, {counted(result.bytes, 'byte')}\n")
    print(markdown(rows_of_one(entry)))
    run.add_evaluation(entry)


def synchrony(config: EvaluationConfig, figure: bool = True) -> None:
    """Print how much heads differ and how widely they look, draw their maps, and add the numbers to the record."""
    from measures.head_maps import head_maps, measure_heads
    from results.document import markdown
    from results.evaluate.heads import first_windows, head_rows, heads_entry, maps_title
    from results.figures.head_maps import plot_heads

    run = _open(config)
    windows = first_windows(run, config.data, config.split)
    maps = head_maps(run.model, windows)
    layers = [measure_heads(A) for A in maps]
    print(markdown(head_rows(run.config.model.name, layers), left=("model",)))
    rows = [(f"layer {layer}", A[0]) for layer, A in enumerate(maps)]
    if figure and any(A.shape[1] for A in maps):
        name, title = f"heads-{config.split}-{run.checkpoint.stem}", maps_title([run], config.split)
        print("\n" + ", ".join(str(file) for file in plot_heads(rows, run.folder / name, title)))
    run.add_evaluation(heads_entry(run, windows, layers, config.split))


def coupling(config: EvaluationConfig, figure: bool = True) -> None:
    """Print the trained coupling kernels and how ordered the layers run, draw them, and add both to the record."""
    from measures.coupling import kernels, order
    from results.document import markdown
    from results.evaluate.coupling import coupling_entry
    from results.evaluate.heads import first_windows
    from results.figures.coupling import draw_evaluation
    from results.tables.coupling import WORDS, kernel_rows

    run = _open(config)
    found = kernels(run.model)
    windows = first_windows(run, config.data, config.split)
    entry = coupling_entry(run, found, order(run.model, windows), config.split, len(windows))
    model = run.config.model.name
    print(markdown(kernel_rows(model, [entry]), left=WORDS))
    if figure:
        name = f"coupling-{config.split}-{run.checkpoint.stem}"
        title = f"{model}, seed {run.config.seed}"
        print("\n" + ", ".join(str(file) for file in draw_evaluation(model, title, entry, run.folder / name)))
    run.add_evaluation(entry)


def recall(config: EvaluationConfig) -> None:
    """Print what the model recalls of strings of a length, and add it to the run's record."""
    from measures.recall import recall as measure
    from training.evaluated_split import progress_of, require_top_k

    run = _open(config)
    strings, context = run.strings(), config.context or run.config.data.context
    if reason := run.config.data.impossible(context):
        raise UserError(f"context={context}: {reason}")
    require_top_k(run, context)
    with progress_of(config.split) as on_progress:
        result = measure(
            run.model,
            strings,
            context,
            config.strings,
            config.split,
            config.batch_size,
            run.config.precision,
            run.config.seed,
            on_progress=on_progress,
        )
    trained = "as in training" if context == run.config.data.context else f"trained on {run.config.data.context}"
    print(f"run             {run.folder}")
    print(f"checkpoint      {run.checkpoint} (step {run.step:,})")
    counts = f"{result.strings:,} of {config.split}, {counted(result.targets, 'scored symbol')}"
    print(f"strings         {run.config.data.name}, {counts}")
    print(f"length          {context} symbols a string, {trained}")
    print(f"accuracy        {result.accuracy:.6f} of the scored symbols, between 0 and 1")
    print(f"nats            {result.nats:.6f} per scored symbol")
    entry = {"task": "recall", "split": config.split, "checkpoint": run.checkpoint.name, "step": run.step}
    entry |= evaluated_by(run.model, next(run.model.parameters()).device.type)
    run.add_evaluation(entry | asdict(result))


def write_text(config: EvaluationConfig) -> None:
    """Stream the prompt and what the model makes of it."""
    import torch

    from measures.sample import decoded, sample

    run = _open(config)
    tokenizer = run.tokenizer
    # A split, too, begins as if after a newline.
    prompt = tokenizer.encode(config.prompt.encode("utf-8", "surrogateescape")).tolist() or [tokenizer.follows]
    generator = torch.Generator().manual_seed(config.seed)
    sys.stdout.write(config.prompt)
    tokens = sample(run.model, prompt, config.length, config.temperature, config.top_p, generator)
    for text in decoded(tokenizer.decode(tokens)):
        sys.stdout.write(printable(text))  # a model of bytes may write any
        sys.stdout.flush()
    print()


def translate(config: EvaluationConfig) -> None:
    """Translate a split and score it, or the lines of `input`."""
    from results.evaluate.translate import translate_lines, translate_split

    run = _open(config)
    (translate_split if config.input is None else translate_lines)(run, config)


TASKS: dict[str, Callable[[EvaluationConfig], None]] = {
    "loss": loss,
    "sample": write_text,
    "synchrony": synchrony,
    "copy_depth": copy_depth,
    "coupling": coupling,
    "recall": recall,
    "translate": translate,
}
