"""SIGKILL at 24 random moments of one run, most of them in the writing of its files: no bit and no row is lost."""

import json
import os
import random
import signal

from training.meter import Meter
from training.run import run
from training.run_record.record import load_record

KILLS = 24
OFTEN = ("trainer.max_steps=40", "trainer.checkpoint_every=1", "trainer.log_every=1", "trainer.val_every=5")


def telling(call, tell):
    """`call`, announced: the process waits until it is told to go on."""

    def announced(*arguments, **options):
        tell()
        return call(*arguments, **options)

    return announced


def killed_at(config, event, within):
    """Run in a fork and kill it at the n-th step, rename or forced write; `within`: not before it but while in it.

    True if it was killed, False if it came to its end before that.
    """
    (told, tell), (gone, go) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(told), os.close(go)

        def wait():
            os.write(tell, b".")
            os.read(gone, 1)

        os.fsync, os.replace = telling(os.fsync, wait), telling(os.replace, wait)
        Meter.measure = telling(Meter.measure, wait)
        try:
            run(config)
            os._exit(0)
        finally:
            os._exit(99)
    os.close(tell), os.close(gone)
    for n in range(1, event + 1):
        if not os.read(told, 1):
            break
        if n < event or within:
            os.write(go, b".")
    os.kill(pid, signal.SIGKILL)
    os.close(told), os.close(go)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def without_timing(rows):
    return [{key: value for key, value in row.items() if key != "tokens_per_second"} for row in rows]


def test_a_run_that_is_killed_again_and_again_loses_nothing(make_config, tmp_path, uninterrupted, same_weights):
    config, chance = make_config(*OFTEN), random.Random(0)
    kills = sum(killed_at(config, chance.randint(1, 40), bool(chance.getrandbits(1))) for _ in range(KILLS))
    run(config)
    assert kills >= 20
    whole = uninterrupted(*OFTEN)
    same_weights(tmp_path / "run", whole)
    record, expected = load_record(tmp_path / "run"), load_record(whole)
    assert record.status == "done"
    assert without_timing(record.metrics) == without_timing(expected.metrics)
    assert [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ] == record.metrics
    assert {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()} == {"last.ckpt", "previous.ckpt"}
