"""Windows: every byte is a target once, batches are pure functions, ranks and micro batches are parts of one batch."""

import numpy as np
import pytest
import torch

from data import windows
from data.split import NEWLINE, Split
from data.windows import IGNORE, evaluation_batches, evaluation_windows, steps_per_epoch, training_batch

# (bytes, context, batch): remainder 0, 1 and C - 1; shorter than a window; one byte; a batch larger than the epoch.
SHAPES = [(64, 8, 4), (65, 8, 4), (63, 8, 4), (100, 7, 3), (5, 8, 3), (1, 2, 1), (8, 8, 16), (9, 2, 2), (1000, 256, 1)]


def numbered(n_bytes):
    """A split whose values tell their positions, from 1000 on, so that a test sees which byte is where."""
    return Split(np.arange(1000, 1000 + n_bytes))


def epoch_of(split, context, batch_size, seed=0, epoch=0):
    steps = steps_per_epoch(len(split), context, batch_size)
    return [training_batch(split, context, batch_size, seed, epoch, index) for index in range(steps)]


def real_targets(batches):
    return sorted(torch.cat([batch.targets[batch.targets != IGNORE] for batch in batches]).tolist())


def assert_shifted(batch):
    """Inputs are the bytes before the targets, a newline before the first; nothing where nothing is predicted."""
    real = batch.targets != IGNORE
    first = batch.targets == 1000
    assert torch.equal(batch.inputs[real & ~first], batch.targets[real & ~first] - 1)
    assert (batch.inputs[first] == NEWLINE).all()
    assert (batch.inputs[~real] == 0).all()


@pytest.mark.parametrize(("n_bytes", "context", "batch_size"), SHAPES)
def test_an_epoch_has_every_byte_as_a_target_exactly_once(n_bytes, context, batch_size):
    split = numbered(n_bytes)
    for epoch in range(6):
        batches = epoch_of(split, context, batch_size, epoch=epoch)
        assert real_targets(batches) == split.tokens.tolist()
        assert sum(batch.n_targets for batch in batches) == sum(batch.n_bytes for batch in batches) == n_bytes
        for batch in batches:
            assert batch.inputs.shape == batch.targets.shape == (batch_size, context)
            assert batch.inputs.dtype == batch.targets.dtype == torch.int64
            assert batch.n_targets == (batch.targets != IGNORE).sum()
            assert_shifted(batch)


def test_rows_are_runs_of_neighbours_that_follow_each_other_inside_a_window():
    for batch in epoch_of(numbered(100), 7, 3):
        for row in batch.targets:
            real = row[row != IGNORE]
            assert torch.equal(real, torch.arange(len(real)) + (real[0] if len(real) else 0))
            assert (row[len(real) :] == IGNORE).all()  # a short window is filled up on its right


def test_order_and_offset_change_with_the_epoch_and_the_seed():
    split = numbered(4096)
    firsts = {(seed, epoch): epoch_of(split, 64, 8, seed, epoch)[0].targets for seed in (0, 1) for epoch in (0, 1)}
    keys = list(firsts)
    for i, one in enumerate(keys):
        assert all(not torch.equal(firsts[one], firsts[other]) for other in keys[i + 1 :])
    offsets = {windows._epoch(4096, 64, 0, epoch)[0] for epoch in range(500)}
    assert offsets == set(range(1, 64))
    assert {windows._epoch(4100, 64, 0, epoch)[0] for epoch in range(500)} == set(range(4, 64))


def test_order_is_a_uniform_looking_permutation():
    positions = np.zeros(5)
    for epoch in range(2000):
        _, order = windows._epoch(16, 4, 7, epoch)
        assert sorted(order.tolist()) == [0, 1, 2, 3, 4]
        positions += order == 0  # where the first window comes
    assert (abs(positions / 2000 - 0.2) < 0.05).all()


def test_a_batch_depends_on_nothing_but_its_arguments():
    split = numbered(1000)
    wanted = training_batch(split, 16, 4, seed=3, epoch=5, index=7)
    np.random.seed(1)
    torch.manual_seed(1)
    windows._epoch.cache_clear()
    for epoch in range(9):
        training_batch(split, 16, 4, seed=3, epoch=epoch, index=0)
    again = training_batch(split, 16, 4, seed=3, epoch=5, index=7)
    assert torch.equal(wanted.inputs, again.inputs) and torch.equal(wanted.targets, again.targets)


def test_the_draws_of_an_epoch_never_change():
    """Pinned: another order would make old runs irreproducible and a resumed run see some bytes twice."""
    offset, order = windows._epoch(100, 10, seed=0, epoch=0)
    assert (offset, order.tolist()) == (2, [9, 2, 5, 3, 7, 6, 8, 1, 4, 0, 10])


@pytest.mark.parametrize(("world_size", "n_micro"), [(1, 1), (2, 1), (1, 3), (2, 3), (6, 2)])
def test_ranks_and_micro_batches_are_parts_of_the_same_global_batch(world_size, n_micro):
    split = numbered(150)
    for index in range(steps_per_epoch(150, 8, 12)):
        whole = training_batch(split, 8, 12, 0, 1, index)
        parts = [
            training_batch(split, 8, 12, 0, 1, index, rank, world_size, micro, n_micro)
            for micro in range(n_micro)
            for rank in range(world_size)
        ]
        assert torch.equal(torch.cat([part.targets for part in parts]), whole.targets)
        assert torch.equal(torch.cat([part.inputs for part in parts]), whole.inputs)
        assert {part.n_targets for part in parts} == {whole.n_targets}


@pytest.mark.parametrize(("n_bytes", "context", "batch_size"), SHAPES)
def test_evaluation_has_every_byte_as_a_target_exactly_once(n_bytes, context, batch_size):
    split = numbered(n_bytes)
    batches = list(evaluation_batches(split, context, batch_size))
    assert real_targets(batches) == split.tokens.tolist()
    assert sum(batch.n_targets for batch in batches) == n_bytes
    for batch in batches:
        assert_shifted(batch)
        assert len(batch.inputs) <= batch_size
        starts = batch.targets[:, 0] - 1000
        assert (starts % context == 0).all()


@pytest.mark.parametrize("max_bytes", [1, 8, 50, 100, 1000])
def test_evaluation_of_the_first_bytes(max_bytes):
    split = numbered(100)
    assert real_targets(evaluation_batches(split.first_bytes(max_bytes), 8, 4)) == split[:max_bytes].tokens.tolist()


@pytest.mark.parametrize("world_size", [2, 3, 20])
def test_ranks_share_an_evaluation(world_size):
    split = numbered(100)  # 13 windows: more ranks than windows leave some ranks with nothing to do
    per_rank = [list(evaluation_batches(split, 8, 4, rank, world_size)) for rank in range(world_size)]
    assert real_targets([batch for batches in per_rank for batch in batches]) == split.tokens.tolist()


@pytest.mark.parametrize("stride", [1, 3, 7, 8])
@pytest.mark.parametrize("n_tokens", [1, 7, 8, 9, 15, 16, 100])
def test_sliding_windows_score_every_token_once_with_enough_before_it(n_tokens, stride):
    split = numbered(n_tokens)
    batches = list(evaluation_batches(split, 8, 4, stride=stride))
    assert real_targets(batches) == split.tokens.tolist()
    assert sum(batch.n_targets for batch in batches) == sum(batch.n_bytes for batch in batches) == n_tokens
    assert sum(len(batch.targets) for batch in batches) == evaluation_windows(n_tokens, 8, stride)
    for batch in batches:
        for inputs, targets in zip(batch.inputs, batch.targets, strict=True):
            for place, target in enumerate(targets.tolist()):
                if target == IGNORE:
                    continue
                assert inputs[place] == (NEWLINE if target == 1000 else target - 1)
                seen = place  # tokens of the window before the one that the target follows
                assert seen >= min(8 - stride, target - 1000)


def test_ranks_share_sliding_windows():
    split = numbered(100)
    parts = [batch for rank in range(3) for batch in evaluation_batches(split, 8, 4, rank, 3, stride=3)]
    assert real_targets(parts) == split.tokens.tolist()


def test_bytes_of_a_batch_are_those_of_its_targets():
    """Token k stands for k + 1 bytes: training and evaluation count those of the targets, the first ones too."""
    split = Split(np.arange(50) % 5, token_bytes=np.arange(1, 6))
    for epoch in range(3):
        assert sum(batch.n_bytes for batch in epoch_of(split, 8, 4, epoch=epoch)) == 150
    for stride in (3, 8):
        for batch in evaluation_batches(split, 8, 4, stride=stride):
            assert batch.n_bytes == (batch.targets[batch.targets != IGNORE] + 1).sum()
        assert sum(batch.n_bytes for batch in evaluation_batches(split, 8, 4, stride=stride)) == 150
    # The first tokens of 1, 2, 3, 4, 5, 1 ... bytes that lie within so many bytes.
    assert [len(split.first_bytes(n)) for n in (1, 2, 3, 5, 6, 15, 16, 150, 1000)] == [1, 1, 2, 2, 3, 5, 6, 50, 50]


def test_evaluation_windows_do_not_depend_on_the_batch_size():
    split = numbered(100)
    rows = [torch.cat([b.targets for b in evaluation_batches(split, 8, size)]) for size in (1, 4, 64)]
    assert torch.equal(rows[0], rows[1]) and torch.equal(rows[0], rows[2])


def test_a_real_split_of_bytes_reads_the_bytes():
    split = Split(np.frombuffer(b"ab\r\n\xff", dtype=np.uint8))
    (batch,) = evaluation_batches(split, 8, 4)
    assert batch.inputs.tolist() == [[10, 97, 98, 13, 10, 0, 0, 0]]
    assert batch.targets.tolist() == [[97, 98, 13, 10, 255, IGNORE, IGNORE, IGNORE]]


def test_what_cannot_be_served_is_an_error():
    split = numbered(100)
    with pytest.raises(ValueError, match="has no step 4"):
        training_batch(split, 8, 4, 0, 0, index=4)
    with pytest.raises(ValueError, match="does not divide"):
        training_batch(split, 8, 4, 0, 0, 0, world_size=3)
    with pytest.raises(ValueError, match="a stride of 9 is not between 1 and the context, 8"):
        list(evaluation_batches(split, 8, 4, stride=9))
    with pytest.raises(ValueError, match="context of 2"):
        steps_per_epoch(100, 1, 4)
    with pytest.raises(ValueError, match="at least 1 token"):
        steps_per_epoch(0, 8, 4)
