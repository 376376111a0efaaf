"""Train a model: `python train.py model=fsn scale=1m data=stdlib`. Every key is written in configs/schema.py."""

from configs.entry import entry_point
from configs.schema import RunConfig


@entry_point("train")
def main(config: RunConfig) -> int:
    """Exit code 0: done, or done before; 130 and 143: interrupted after a clean checkpoint."""
    from training.run import run
    from training.signals import Interrupted

    try:
        run(config)
    except Interrupted as interrupted:
        return interrupted.exit_code
    return 0


if __name__ == "__main__":
    main()
