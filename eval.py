"""Evaluate a run: `python eval.py run=PATH split=test`, or let it write: `python eval.py run=PATH task=sample`."""

import sys
from dataclasses import asdict

from configs.entry import entry_point
from configs.schema import EvaluationConfig


@entry_point("eval", literal=("prompt",))
def main(config: EvaluationConfig) -> None:
    tasks = {"loss": loss, "sample": write, "synchrony": synchrony, "coupling": coupling}
    tasks[config.task](config)


def loss(config: EvaluationConfig) -> None:
    """Print what the model costs on a split, and add it to the run's record."""
    from rich.console import Console
    from rich.progress import Progress

    from configs.errors import UserError
    from training.evaluate import evaluate
    from training.synchronization import evaluated_by
    from training.trained_run import open_run

    run = open_run(config.run, config.checkpoint, config.device, config.ssa.backend)
    split = run.corpus(config.data).split(config.split)
    context = config.context or run.config.data.context
    if context > len(split):
        raise UserError(f"context={context} is longer than the {config.split} split, {len(split):,} bytes")
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task(config.split)
        result = evaluate(
            run.model,
            split,
            context,
            config.batch_size,
            config.max_bytes,
            run.config.precision,
            on_progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    print(f"run             {run.folder}")
    print(f"checkpoint      {run.checkpoint} (step {run.step:,})")
    print(f"split           {config.split}, {result.bytes:,} bytes in {result.windows:,} windows")
    print(f"context         {context} bytes")
    print(f"nats            {result.nats:.6f} per byte")
    print(f"bits per byte   {result.bits_per_byte:.6f}")
    print(f"standard error  {result.standard_error:.6f} bits per byte, over windows")
    final = run.record.final
    if (
        final is not None
        and (config.split, run.step) == ("validation", final["step"])
        and result.bytes != final["bytes"]
    ):
        print(
            f"in training     {final['bits_per_byte']:.6f} bits per byte on the first {final['bytes']:,} bytes; "
            f"type max_bytes={final['bytes']} for the same"
        )
    entry = {"split": config.split, "checkpoint": run.checkpoint.name, "step": run.step, "context": context}
    entry |= evaluated_by(run.model, next(run.model.parameters()).device.type)
    run.add_evaluation(entry | asdict(result))


def synchrony(config: EvaluationConfig) -> None:
    """Print how much heads differ and how widely they look, draw their maps, and add the numbers to the record."""
    from results.head_figure import plot_heads
    from results.heads import entry, first_windows, table
    from results.tables import markdown
    from training.head_maps import head_maps, measure
    from training.trained_run import open_run

    run = open_run(config.run, config.checkpoint, config.device, config.ssa.backend)
    maps = head_maps(run.model, first_windows(run, config.data, config.split))
    layers = [measure(A) for A in maps]
    print(markdown(table(run.config.model.name, layers), left=("model",)))
    rows = [(f"layer {layer}", A[0]) for layer, A in enumerate(maps)]
    name = f"heads-{config.split}-{run.checkpoint.stem}"
    print("\n" + ", ".join(str(file) for file in plot_heads(rows, run.folder / name)))
    run.add_evaluation(entry(run, layers, config.split))


def coupling(config: EvaluationConfig) -> None:
    """Print the trained coupling kernels and how ordered the layers run, draw them, and add both to the record."""
    from results.coupling import draw, entry, rows
    from results.heads import first_windows
    from results.tables import markdown
    from training.coupling import kernels, order
    from training.trained_run import open_run

    run = open_run(config.run, config.checkpoint, config.device, config.ssa.backend)
    kappa = kernels(run.model)
    windows = first_windows(run, config.data, config.split)
    found = entry(run, kappa, order(run.model, windows), config.split, len(windows))
    model = run.config.model.name
    print(markdown(rows(model, [found]), left=("model",)))
    name = f"coupling-{config.split}-{run.checkpoint.stem}"
    title = f"{model}, seed {run.config.seed}"
    print("\n" + ", ".join(str(file) for file in draw(model, title, found, run.folder / name)))
    run.add_evaluation(found)


def write(config: EvaluationConfig) -> None:
    """Stream the prompt and what the model makes of it."""
    import torch

    from training.sample import decoded, sample
    from training.trained_run import open_run

    run = open_run(config.run, config.checkpoint, config.device, config.ssa.backend)
    prompt = config.prompt.encode("utf-8", "surrogateescape")
    generator = torch.Generator().manual_seed(config.seed)
    sys.stdout.reconfigure(errors="replace")  # a terminal without UTF-8 must not end the text
    sys.stdout.write(config.prompt)
    for text in decoded(sample(run.model, prompt, config.length, config.temperature, config.top_p, generator)):
        sys.stdout.write(text)
        sys.stdout.flush()
    print()


if __name__ == "__main__":
    main()
