"""Train a model: `python train.py model=fsn scale=1m data=stdlib`. Every key is written in configs/schema.py.

Or all runs of a table: `python train.py +sweeps=fsn-enwik8 profile=cpu`; what it may be asked is in configs/sweeps.py.
"""

import sys

from configs.entry import entry_point, fail, reader_left, stopped
from configs.errors import UserError
from configs.schema import RunConfig
from configs.sweeps import requested


@entry_point("train")
def main(config: RunConfig) -> int:
    """Exit code 0: done, or done before; 130 and 143: interrupted after a clean checkpoint; 1: a process died."""
    from training.processes.group import RankDied
    from training.run import run
    from training.signals import Interrupted

    try:
        run(config)
    except Interrupted as interrupted:
        return interrupted.exit_code
    except RankDied as death:
        print(f"error: {death}", file=sys.stderr)
        return 1
    return 0


def main_or_sweep() -> None:
    """The command. Exit code of a sweep: 1 when one of its runs failed."""
    try:
        request = requested(sys.argv[1:])
        if request is None:
            main()
            return
        from training.sweeps.sweep import conduct

        raise SystemExit(conduct(request))
    except UserError as error:
        fail(error)
    except BrokenPipeError:
        reader_left()
    except KeyboardInterrupt:
        stopped()


if __name__ == "__main__":
    main_or_sweep()
