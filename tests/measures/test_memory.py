"""Memory of training by part, against a count by hand."""

import torch
from torch import nn

from measures.memory import training_memory


def test_every_part_is_counted_once():
    model = nn.Sequential(nn.Linear(4, 8, bias=False), nn.ReLU(), nn.Linear(8, 2, bias=False), nn.Dropout(0.5))
    before = torch.get_rng_state()
    memory = training_memory(model.eval(), 3, torch.ones(1, 4, requires_grad=True))
    assert (memory.weights, memory.gradients, memory.optimizer) == (4 * 48, 4 * 48, 8 * 48)
    # Of a row: the input (4 numbers), the ReLU's output, which the next layer reads too (8), and dropout's mask (2).
    assert memory.activations in (3 * 4 * (4 + 8 + 2), 3 * (4 * (4 + 8) + 2))
    assert memory.total == 4 * 4 * 48 + memory.activations
    assert torch.equal(torch.get_rng_state(), before) and not model.training, "a plan changes nothing"
