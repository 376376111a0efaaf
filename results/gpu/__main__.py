"""What a GPU is wanted for: `python -m results.gpu [hours=1.5] [dry=1] [key=value ...]`, or `make gpu`.

In this order: the tests that need CUDA; the time of training steps and of attention layers; then the 30-epoch
comparison of transformer and FSN at 1m, whose records `table-fsn-enwik8` reads. What is there is not made again and
trainings go on from their checkpoints, so the command may be stopped anywhere and typed again. `dry=1` does all of it
on the CPU at smoke sizes. Keys of the trainings (data.path=FILE, seed=0) may follow.
"""

import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from configs.command import end_with
from configs.errors import UserError
from configs.heartbeat import duration
from configs.sweeps import expand
from results.document import markdown
from results.gpu.within_time import WithinTime
from results.target import Asked, parse

# The others need torch, which takes seconds to load: they are imported once the arguments are right.
if TYPE_CHECKING:
    from results.gpu.comparison import Training
    from results.gpu.stages import Stage

TARGET = "table-fsn-enwik8"
# Compiled and as graphs, because starting operations takes most of the time of so small a model.
SETTINGS = {
    "paper": ["trainer=gpu", "precision=bf16", "compile=true", "trainer.cuda_graphs=true"],
    "smoke": ["trainer.accelerator=cpu"],
}


@dataclass(frozen=True)
class Given:
    """What a command line gives. `seconds`: None: as long as it takes; `typed`: the keys of the trainings."""

    seconds: float | None
    profile: str
    typed: list[str]
    asked: Asked  # as the table takes it

    @property
    def tables(self) -> Path:
        return self.asked.runs / "tables" / self.profile


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit code 1 where a stage or a run failed, 128 + its number after a signal.

    UserError for a mistake, for data that is not there, and without CUDA unless it is dry.
    """
    given = read(sys.argv[1:] if arguments is None else arguments)
    from results.gpu.comparison import train, trainings
    from results.gpu.stages import stages

    device = device_name(given.profile)
    time = WithinTime(given.seconds)
    runs = trainings(expand("fsn-enwik8", given.profile, given.asked.overrides))
    with time:
        measured = stages(given.profile, given.asked.runs, given.tables, device)
        print(plan(given, device, measured, runs), flush=True)
        failed = [stage.name for stage in measured if not stage.done() and not time.over and not made(stage, time)]
        train(runs, time)
        failed += [run.label for run in runs if run.failed]
        print(report(given, measured, runs, failed, time))
        return 128 + time.signum if time.signum else int(bool(failed))


def read(arguments: Sequence[str]) -> Given:
    """What the arguments ask. UserError for what cannot be."""
    seconds, dry, typed = None, False, []
    for text in arguments:
        key, _, value = text.partition("=")
        if key == "hours":
            seconds = 3600 * _hours(value)
        elif key == "dry":
            if value not in ("0", "1"):
                raise UserError(f"{text}: takes 1, for smoke sizes on the CPU, or 0; type dry=1")
            dry = value == "1"
        elif key in ("profile", "train", "output"):
            raise UserError(f"{text}: is for {TARGET}; leave it out, or type dry=1 for smoke sizes")
        else:
            typed.append(text)
    profile = "smoke" if dry else "paper"
    pair = [] if any(text.startswith("model=") for text in typed) else ["model=transformer,fsn"]
    asked = parse([TARGET, f"profile={profile}", *SETTINGS[profile], *pair, *typed])
    return Given(seconds, profile, typed, asked)


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = math.nan
    if not 0 < hours < 10_000:
        raise UserError(f"hours={text}: takes a number above 0; type hours=1.5, with make HOURS=1.5")
    return hours


def device_name(profile: str) -> str:
    """What it all runs on. UserError without CUDA, unless it is dry."""
    import torch

    from training.run_record.environment import cpu_name

    if profile == "smoke":
        return cpu_name()
    if not torch.cuda.is_available():
        raise UserError(
            "this machine has no CUDA device that torch sees; type make gpu DRY=1 to try all of it on the CPU, at "
            "smoke sizes (python -m results.gpu dry=1)"
        )
    return torch.cuda.get_device_name()


def plan(given: Given, device: str, measured: "Sequence[Stage]", runs: "Sequence[Training]") -> str:
    """What is there, what will be done and how long it takes."""
    from results.gpu.comparison import seconds_left, state

    sizes = "smoke sizes, " if given.profile == "smoke" else ""
    within = "no limit of time" if given.seconds is None else f"{duration(given.seconds)} given"
    rows = [
        {"stage": s.name, "what": s.what, "state": "done before" if s.done() else "to do", "takes": _takes(given, s)}
        for s in measured
    ]
    left = seconds_left(runs)
    takes = "known after the first turns" if left is None else f"about {duration(left)}"
    names = " and ".join(dict.fromkeys(run.model for run in runs))
    length = runs[0].told(runs[0].total).partition(" of ")[2]
    done = all(run.done for run in runs)
    what = f"{names}, {length} each, in turns"
    rows.append({"stage": "trainings", "what": what, "state": state(runs), "takes": "" if done else takes})
    return f"{device}, {sizes}{within}\n\n{markdown(rows, left=('stage', 'what', 'state', 'takes'))}"


def _takes(given: Given, stage: "Stage") -> str:
    return "" if stage.done() or given.profile == "smoke" else f"about {duration(stage.seconds)}"


def made(stage: "Stage", time: WithinTime) -> bool:
    """Run a stage; false where it failed."""
    print(f"\n{stage.name}: {stage.what}", flush=True)
    code = time.run(stage.command)
    if code == 0:
        stage.at_end()
    elif code is not None:
        print(f"failed: {stage.name}: exit code {code}", file=sys.stderr)
    return not code


def report(
    given: Given, measured: "Sequence[Stage]", runs: "Sequence[Training]", failed: Sequence[str], time: WithinTime
) -> str:
    """What was done, where it lies, what is left, and which command makes the table."""
    from results.gpu.comparison import seconds_left, side_by_side, state

    left = [stage.name for stage in measured if not stage.done()]
    left += [] if all(run.done for run in runs) else ["trainings"]
    seconds = seconds_left(runs)
    more = f", about {duration(seconds)} of training" if seconds and "trainings" in left else ""
    table = shlex.join(["train=false", *SETTINGS[given.profile], *given.typed])
    lines = [f"\nAfter {duration(time.passed)}: {', '.join(s.name for s in measured if s.done()) or 'no stage'} done"]
    lines[0] += f"; trainings: {state(runs)}"
    if rows := side_by_side(runs):
        lines += ["\nBits per byte of validation after as many steps of each:\n", markdown(rows, left=()) + "\n"]
    lines += [f"measurements  {given.asked.benches}", f"records       {runs[0].folder.parent}"]
    lines += [f"table         make {TARGET} PROFILE={given.profile} ARGS={shlex.quote(table)}"]
    lines += [f"failed        {', '.join(failed)}"] if failed else []
    lines += [f"left          {', '.join(left) or 'nothing'}{more}" + ("; the same command goes on" if left else "")]
    return "\n".join(lines)


if __name__ == "__main__":
    end_with(main, __doc__)
