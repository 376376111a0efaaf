"""What a rank draws in a pass follows from seed, step, micro-batch and rank, so a resumed run draws the same again."""

from types import SimpleNamespace

import torch

from training.step import TrainingModule


def drawn(rank, step, seed=5):
    """What the micro-batches of a step draw on a rank, whatever was drawn before."""
    place = SimpleNamespace(datamodule=SimpleNamespace(seed=seed), global_step=step, global_rank=rank)
    numbers = []
    for micro in range(2):
        TrainingModule._draw_apart(SimpleNamespace(trainer=place), micro)
        numbers.append(torch.rand(4))
    return torch.stack(numbers)


def test_each_rank_draws_its_own_and_a_resumed_run_the_same():
    with torch.random.fork_rng():
        first = drawn(0, 7)
        drawn(0, 8)
        assert torch.equal(drawn(0, 7), first)
        for other in (drawn(1, 7), drawn(0, 8), drawn(0, 7, seed=6)):
            assert not torch.equal(other, first)
        assert not torch.equal(first[0], first[1]), "micro-batches of a step"
