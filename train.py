"""Train a model: `python train.py model=fsn scale=1m data=stdlib`. Every key is written in configs/schema.py.

Or all runs of a table: `python train.py +sweeps=fsn-enwik8 profile=cpu`; what it may be asked is in configs/sweeps.py.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from configs.command import end_with
from configs.entry import entry_point
from configs.frozen import FLAG
from configs.schema import RunConfig
from configs.sweeps import requested
from data.files import require_file


@entry_point("train")
def main(config: RunConfig) -> int:
    """Exit code 0: done, or done before; 130 and 143: interrupted after a clean checkpoint."""
    # Said before torch, which takes seconds to load. What a launcher left in the environment says no more than this.
    rank = os.environ.get("RANK" if "TORCHELASTIC_RUN_ID" in os.environ else "SLURM_PROCID", "0")
    if rank == "0":
        print(
            f"starting {config.model.name}, scale {config.scale.name}, {config.data.name}, seed {config.seed}",
            flush=True,
        )
        require_file(config.data)
    if config.plan:
        from training.plan import show_plan

        show_plan(config)
        return 0
    from training.run import run
    from training.signals import Interrupted

    try:
        run(config)
    except Interrupted as interrupted:
        return interrupted.exit_code
    return 0


def main_or_sweep() -> int | None:
    """The command. Exit code of a sweep: 1 when one of its runs failed."""
    if sys.argv[1:2] == [FLAG] and len(sys.argv) == 3:
        from training.sweeps.own_process import train_frozen

        return train_frozen(Path(sys.argv[2]))
    request = requested(sys.argv[1:])
    if request is None:
        return main()
    from training.sweeps.sweep import conduct

    return conduct(request, at_end=compared)


def compared(finished: Sequence[Path]) -> None:
    """The table of the finished runs of a sweep."""
    from results.compare import compare_finished

    compare_finished(finished)


if __name__ == "__main__":
    end_with(main_or_sweep)
