"""The loss that is read in chunks: values and gradients of the plain form, and never more logits than the bound."""

import pytest
import torch
import torch.nn.functional as F

from baseline import Transformer
from data.windows import IGNORE as OF_DATA
from data.windows import Batch
from fsn import FSN
from ssa import OSN
from synchrony_blocks import cross_entropy as module
from synchrony_blocks.cross_entropy import IGNORE, MOST_LOGITS, cross_entropy, smoothed_cross_entropy
from training.language import LanguageModule

V = 267_735  # words of WikiText-103


def plain(readout, h, y, smoothing=0.0):
    return F.cross_entropy(readout(h), y, ignore_index=IGNORE, reduction="none", label_smoothing=smoothing)


@pytest.mark.parametrize(("smoothing", "weighted"), [(0.0, False), (0.1, True)])
def test_chunks_give_the_loss_and_gradients_of_the_plain_form(smoothing, weighted, monkeypatch):
    """At the vocabulary of WikiText-103, in float64; three tokens a chunk, of 11, one of which is no target."""
    monkeypatch.setattr(module, "MOST_LOGITS", 3 * V + 5)
    torch.manual_seed(0)
    table, h = (torch.randn(n, 4, dtype=torch.float64, requires_grad=True) for n in (V, 11))
    y = torch.randint(0, V, (11,))
    y[4] = IGNORE
    weight = torch.rand(11, dtype=torch.float64) if weighted else torch.ones(11, dtype=torch.float64)

    def readout(x):
        return F.linear(x, table)

    expected = plain(readout, h, y, smoothing)
    theirs = torch.autograd.grad((expected * weight).sum(), (table, h))
    if smoothing:
        nats, told = smoothed_cross_entropy(readout, h, y, V, smoothing)
        torch.testing.assert_close(told, plain(readout, h, y), rtol=1e-10, atol=1e-11)
    else:
        nats = cross_entropy(readout, h, y, V)
    ours = torch.autograd.grad((nats * weight).sum(), (table, h))
    assert nats[4] == 0
    for a, b in zip((nats, *ours), (expected, *theirs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("gradients", [True, False])
def test_no_tensor_of_logits_is_larger_than_the_bound(gradients, monkeypatch, largest_tensor):
    """Forward and backward, with V = 267,735: seven tokens a chunk of 40; the table and its gradient are smaller."""
    bound = 7 * V + 100
    torch.manual_seed(0)
    table, h = torch.randn(V, 4, requires_grad=True), torch.randn(2, 20, 4, requires_grad=True)
    y = torch.randint(0, V, (2, 20))

    def largest():
        with largest_tensor() as seen, torch.set_grad_enabled(gradients):
            nats = cross_entropy(lambda x: F.linear(x, table), h, y, V)
            if gradients:
                nats.sum().backward()
        return seen.numbers

    assert largest() == 40 * V < MOST_LOGITS, "so few need no chunks"
    monkeypatch.setattr(module, "MOST_LOGITS", bound)
    assert 7 * V <= largest() <= bound


@pytest.mark.parametrize("build", [Transformer, OSN, FSN, lambda *shape: FSN(*shape, readout="tied")])
def test_a_training_step_is_the_same_read_in_chunks(build, monkeypatch):
    """Of the module that trains, for every family; and small vocabularies are read as ever, without checkpoints."""
    torch.manual_seed(0)
    model = build(500, 16, 2, 2, 24).double()
    inputs, targets = torch.randint(0, 500, (2, 3, 10))
    targets[0, 4:] = IGNORE
    trained = LanguageModule(model, None, 1)

    def step():
        nats = trained.nats(Batch(inputs, targets, 24, 24))
        model.zero_grad()
        nats.backward()
        return [nats.detach(), *(p.grad.clone() for p in model.parameters())]

    calls = []
    monkeypatch.setattr(module, "checkpoint", lambda *a, _own=module.checkpoint, **k: calls.append(1) or _own(*a, **k))
    expected = step()
    assert not calls and not model.reads_in_parts(inputs.numel())
    monkeypatch.setattr(module, "MOST_LOGITS", 500 * 7)
    found = step()
    assert len(calls) == 5, "7 tokens at a time, of 30"
    for a, b in zip(found, expected, strict=True):
        # The plain form takes its sum in float32.
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6, check_dtype=False)


def test_autocast_takes_sums_in_float32(monkeypatch):
    monkeypatch.setattr(module, "MOST_LOGITS", 900)
    torch.manual_seed(0)
    table, h, y = torch.randn(300, 8), torch.randn(9, 8), torch.randint(0, 300, (9,))
    with torch.autocast("cpu", torch.bfloat16):
        nats = cross_entropy(lambda x: F.linear(x, table), h, y, 300)
    assert nats.dtype == torch.float32
    torch.testing.assert_close(nats, plain(lambda x: F.linear(x, table), h, y), rtol=0, atol=0.1)


def test_what_is_ignored_is_what_data_says():
    assert IGNORE == OF_DATA
