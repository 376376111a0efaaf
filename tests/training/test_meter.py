"""The numbers of a train row, from the numbers of its steps."""

import math
from types import SimpleNamespace

import pytest
import torch

from measures.bits_per_byte import bits_per_byte
from training.meter import Meter, NonFiniteError


def measure(meter, step, nats, counts=(6, 24), world_size=1):
    trainer = SimpleNamespace(global_step=step, world_size=world_size)
    module = SimpleNamespace(step_nats=torch.tensor(nats), grad_norm=torch.tensor(1.0), lr=0.1)
    n_targets, n_bytes = counts
    return meter.measure(trainer, module, SimpleNamespace(n_targets=n_targets, n_bytes=n_bytes))


def test_bits_per_byte_come_from_the_bytes_behind_the_targets():
    assert bits_per_byte(3 * math.log(2), 5, 5) == pytest.approx(3.0)
    assert bits_per_byte(3 * math.log(2), 5, 20) == pytest.approx(0.75)
    meter = Meter(steps_per_epoch=10, total_steps=10, log_every=2)
    meter.start()
    assert measure(meter, 1, 3.0, (4, 10)) is None
    row = measure(meter, 2, 1.0, (6, 30))
    assert (row["nats"], row["tokens"]) == (2.0, 10)
    assert row["bits_per_byte"] == pytest.approx(2.0 / math.log(2) / 4)
    assert meter.losses()[-1] == pytest.approx(1.0 / math.log(2) / 5), "of the last step alone"
    measure(meter, 3, 5.0, (10, 10))
    assert measure(meter, 4, 5.0, (10, 10))["bits_per_byte"] == pytest.approx(5.0 / math.log(2)), "counted afresh"


@pytest.mark.parametrize("older", [False, True])
def test_a_row_that_a_checkpoint_cuts_in_two_is_the_whole_row(older):
    """In checkpoints by code that knew byte corpora alone no bytes are counted."""
    meter, resumed = (Meter(steps_per_epoch=10, total_steps=10, log_every=2) for _ in range(2))
    meter.start()
    measure(meter, 1, 3.0, (4, 4))
    state = meter.state_dict()
    if older:
        state["since_row"] = state["since_row"][:5]
    resumed.load_state_dict(state)
    resumed.start()
    rows = [measure(each, 2, 1.0, (6, 26)) for each in (meter, resumed)]
    for row in rows:
        assert row.pop("tokens_per_second") > 0
    assert rows[0] == rows[1] and rows[0]["bits_per_byte"] == pytest.approx(2.0 / math.log(2) / 3)


def test_processes_meet_once_a_row(monkeypatch):
    """Each adds its share of the losses of all steps since; a step by itself waits for nobody."""
    met = []

    def all_reduce(shares):
        met.append(shares.tolist())
        shares.add_(1.0)

    monkeypatch.setattr("training.meter.dist.all_reduce", all_reduce)
    meter = Meter(steps_per_epoch=10, total_steps=10, log_every=3)
    meter.start()
    rows = [measure(meter, step, float(step), world_size=2) for step in (1, 2, 3)]
    assert met == [[1.0, 2.0, 3.0]] and rows[:2] == [None, None]
    assert rows[2]["nats"] == 3.0 and rows[2]["grad_norm"] == 1.0
    assert [loss * math.log(2) * 4 for loss in meter.losses()] == pytest.approx([2.0, 3.0, 4.0])
    measure(meter, 4, math.nan, world_size=2)
    measure(meter, 5, 1.0, world_size=2)
    with pytest.raises(NonFiniteError, match="training loss became nan at step 4"), meter.paused():
        raise AssertionError("what is to be saved or validated is broken")
