"""What a rank draws in a step follows from seed, rank and step; rank 0 goes on with the run's own generator."""

from types import SimpleNamespace

import torch

from training.loop import Loop


def drawn(rank, step, n_micro=2, seed=5):
    """What the micro-batches of a step draw on a rank, after anything may have been drawn before."""
    loop = Loop(None, None, None, SimpleNamespace(record=SimpleNamespace(seed=seed)), None, None)
    trainer, module = SimpleNamespace(global_rank=rank, global_step=step), SimpleNamespace(n_micro=n_micro)
    numbers = []
    for micro in range(n_micro):
        loop.on_train_batch_start(trainer, module, None, step * n_micro + micro)
        numbers.append(torch.rand(4))
    return torch.stack(numbers)


def test_each_rank_draws_its_own_and_a_resumed_run_the_same():
    with torch.random.fork_rng():
        first = drawn(1, 7)
        drawn(1, 8)
        assert torch.equal(drawn(1, 7), first)
        for other in (drawn(2, 7), drawn(1, 8), drawn(1, 7, seed=6)):
            assert not torch.equal(other, first)
        assert not torch.equal(first[0], first[1]), "micro-batches of a step"

        torch.manual_seed(3)
        expected = torch.rand(2, 4)
        torch.manual_seed(3)
        assert torch.equal(drawn(0, 7).flatten(), expected.flatten()), "as a run of one process"
