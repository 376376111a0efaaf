"""Evaluate a run: `python eval.py run=PATH split=test`, or let it write: `python eval.py run=PATH task=sample`."""

from configs.entry import entry_point
from configs.heartbeat import beating
from configs.schema import EvaluationConfig


@entry_point("eval", literal=("prompt",))
def main(config: EvaluationConfig) -> None:
    """Do the task; what each one gives is in results/evaluate/tasks.py."""
    from training.run_record.record import load_record

    assert config.run is not None, "checked with the config"
    load_record(config.run)  # a run that is not there is said before torch is loaded, which takes seconds
    from results.evaluate.tasks import TASKS
    from training.out_of_memory import of_evaluation, out_of_memory_named

    with beating(), out_of_memory_named(lambda _: of_evaluation(config)):
        TASKS[config.task](config)


if __name__ == "__main__":
    main()
