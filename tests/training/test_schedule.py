import itertools

import pytest

from configs.errors import UserError
from configs.schema import OptimConfig, TrainerConfig
from training.schedule import GLANCE, glanced_bytes, lr_factor, total_steps, validation_interval


@pytest.mark.parametrize("shape", ["cosine", "linear"])
def test_warm_up_rises_to_the_peak_and_decay_ends_at_the_final_rate(shape):
    optim = OptimConfig(schedule=shape, warmup_steps=10, final_lr=0.2)
    factors = [lr_factor(step, 100, optim) for step in range(100)]
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert all(later < earlier for earlier, later in itertools.pairwise(factors[9:]))
    assert factors[-1] == pytest.approx(0.2)


def test_cosine_is_half_way_in_the_middle_and_linear_is_straight():
    cosine = OptimConfig(schedule="cosine", warmup_steps=0, final_lr=0.0)
    linear = OptimConfig(schedule="linear", warmup_steps=0, final_lr=0.0)
    assert lr_factor(49, 100, cosine) == pytest.approx(0.5)
    assert lr_factor(24, 100, cosine) == pytest.approx((1 + 0.5**0.5) / 2)
    assert lr_factor(24, 100, linear) == pytest.approx(0.75)


def test_constant_stays_at_the_peak():
    optim = OptimConfig(schedule="constant", warmup_steps=2)
    assert [lr_factor(step, 5, optim) for step in range(5)] == [0.5, 1, 1, 1, 1]


def test_a_run_shorter_than_its_warm_up_never_divides_by_zero():
    optim = OptimConfig(schedule="cosine", warmup_steps=10)
    assert lr_factor(4, 5, optim) == 0.5
    assert lr_factor(10, 10, optim) == pytest.approx(optim.final_lr)


def test_steps_rule_where_they_are_set_and_else_epochs():
    assert total_steps(TrainerConfig(max_steps=50, max_epochs=2), 20) == 50, "a preset cuts nothing"
    assert total_steps(TrainerConfig(max_steps=30, max_epochs=2), 20) == 30
    assert total_steps(TrainerConfig(max_epochs=3), 20) == 60
    with pytest.raises(UserError, match=r"trainer.max_steps or trainer.max_epochs"):
        total_steps(TrainerConfig(), 20)


@pytest.mark.parametrize(
    ("every", "per_epoch", "total", "expected"),
    [(None, 100, 100, 20), (None, 2156, 2000, 400), (None, None, 6, 2), (None, 20, 30, None), (7, 2156, 2000, 7)],
)
def test_a_run_that_is_not_asked_to_validate_does_so_a_few_times(every, per_epoch, total, expected):
    assert validation_interval(every, per_epoch, total) == expected
    glance = GLANCE if every is None and expected is not None else None
    assert glanced_bytes(TrainerConfig(val_every=every), per_epoch, total) == glance
    assert glanced_bytes(TrainerConfig(val_every=every, val_bytes=5), per_epoch, total) == 5
