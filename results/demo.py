"""`make demo`: three small models on code, their losses side by side, one figure, and what each of them writes."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import torch

from configs.command import end_with
from configs.errors import UserError
from configs.printable import printable
from measures.sample import decoded, sample
from results.document import markdown
from results.figures.curves import plot_curves
from results.tables.comparison import OVER_TEXT, comparison
from training.run_record.record import RunRecord, load_record
from training.run_record.run_directory import run_directory
from training.run_record.trained_run import open_run
from training.sweeps.swept_run import resolved

MODELS = ("kuramoto", "fsn", "transformer")
FOLDER = Path("runs/demo-stdlib")
# Every validation takes the whole split, so that a curve's points are of the same bytes; a small split keeps it quick.
SETTINGS = (
    "scale=250k",
    "data=stdlib",
    "data.split=[0.96,0.02,0.02]",
    "logger=none",
    "trainer.max_steps=500",
    "trainer.val_every=100",
    "optim.warmup_steps=50",
    f"runs={FOLDER}",
)
PROMPT, LENGTH, SEED = "def ", 600, 0
SHOWN_LINES, SHOWN_COLUMNS = 12, 100
TRAIN = Path(__file__).resolve().parent.parent / "train.py"


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, compare, draw, write; a run that is already there is not made again. UserError for any argument."""
    for text in sys.argv[1:] if arguments is None else arguments:
        raise UserError(
            f"{text}: the demo takes no arguments; type python train.py KEY=VALUE ... for a run of your own"
        )
    folders = {}
    for number, model in enumerate(MODELS, 1):
        print(f"\n[{number}/{len(MODELS)}] {model}", flush=True)
        overrides = [f"model={model}", *SETTINGS]
        train(overrides)
        folders[model] = run_directory(resolved(overrides))
    records = [load_record(folder) for folder in folders.values()]
    table = markdown(comparison(records))
    (FOLDER / "table.md").write_text(table + "\n", encoding="utf-8")
    figures = plot_curves(records, FOLDER / "bits-per-byte")
    samples = {model: write_sample(model, folder) for model, folder in folders.items()}
    report(records[0], table, samples)
    print("\nWhere it is")
    print(f"  table    {FOLDER / 'table.md'}")
    print(f"  figure   {', '.join(str(file) for file in figures)}")
    print(f"  samples  {', '.join(str(file) for file in samples.values())}")
    print(f"  runs     {', '.join(str(folder) for folder in folders.values())}")


def train(overrides: list[str]) -> None:
    """Run train.py in this terminal. A run that is done already says so at once; an interrupted one goes on."""
    child = subprocess.Popen([sys.executable, str(TRAIN), *overrides])

    def pass_on(signum: int, frame: FrameType | None) -> None:
        # Ctrl-C reaches the child through the terminal; a SIGTERM is for this process alone.
        if signum == signal.SIGTERM:
            child.terminate()

    earlier = {signum: signal.signal(signum, pass_on) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = child.wait()  # it saves a checkpoint before it goes
    finally:
        for signum, handler in earlier.items():
            signal.signal(signum, handler)
    if code:
        raise SystemExit(code)


def write_sample(model: str, folder: Path) -> Path:
    """What the model writes after the prompt, as a text file."""
    run = open_run(str(folder))
    generator = torch.Generator().manual_seed(SEED)
    prompt = run.tokenizer.encode(PROMPT.encode()).tolist()
    tokens = sample(run.model, prompt, LENGTH, temperature=0.8, top_p=0.95, generator=generator)
    path = FOLDER / f"sample-{model}.txt"
    path.write_text(PROMPT + "".join(decoded(run.tokenizer.decode(tokens))) + "\n", encoding="utf-8")
    return path


def report(record: RunRecord, table: str, samples: dict[str, Path]) -> None:
    """Print the first lines of each sample, then the table; `record`: one of the runs, for what they share."""
    final = record.final or {}
    for model, path in samples.items():
        lines = path.read_text(encoding="utf-8").split("\n")[:SHOWN_LINES]
        print(f"\n{model} writes (temperature 0.8, seed {SEED}):")
        print("\n".join("  │ " + printable(line[:SHOWN_COLUMNS]) for line in lines))
    print(
        f"\nBits per byte on the {final['bytes']:,} validation bytes of {record.data.name} after "
        f"{final['tokens']:,} training tokens (less is better)\n\n{table}\n\n{OVER_TEXT}"
    )


if __name__ == "__main__":
    end_with(main, __doc__)
