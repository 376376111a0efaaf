"""Bands of a vocabulary: torch's own adaptive softmax, loops from the equations, and what budgets and rates see."""

import math
from itertools import pairwise

import pytest
import torch

from baseline import Transformer
from configs.compose import compose
from configs.errors import UserError
from configs.schema import MODELS
from fsn import FSN
from fsn.phase_bands import PhaseBands
from measures.flops import flops_per_token
from ssa import OSN
from synchrony_blocks import cross_entropy
from synchrony_blocks.adaptive import Bands, TiedBands, checked_cutoffs
from training.budget import resolve_shape
from training.build import build_model, parameter_groups, parameters_by_part
from training.plan import require_whole_logits

V, CUTOFFS = 100, [10, 40]
BOUNDS = [0, 10, 40, 100]
MODELS_IN_BANDS = [Transformer, OSN, FSN]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def made(kind, **more):
    return kind(V, 16, 2, 2, 24, cutoffs=CUTOFFS, div_value=2, **more)


def test_the_loss_is_that_of_torch_and_of_the_full_log_probabilities():
    bands = Bands(16, V, CUTOFFS, 2).double()
    h, y = torch.randn(3, 50, 16, dtype=torch.float64), torch.randint(0, V, (3, 50))
    nats = bands.nats(h, y)
    torch.testing.assert_close(-bands.softmax(h.flatten(0, 1), y.flatten()).output, nats.flatten())
    log_p = bands.log_prob(h)
    torch.testing.assert_close(-log_p.gather(-1, y[..., None])[..., 0], nats)
    torch.testing.assert_close(log_p.exp().sum(-1), torch.ones(3, 50, dtype=torch.float64))


def test_targets_that_are_ignored_cost_nothing_and_bands_without_a_token_have_gradients_of_zero():
    """Which training on several devices needs, and what torch's module does not give."""
    bands = Bands(16, V, CUTOFFS, 2)
    h, y = torch.randn(6, 16, requires_grad=True), torch.tensor([3, -100, 12, 39, -100, 9])
    nats = bands.nats(h, y)
    nats.sum().backward()
    assert (nats == 0).tolist() == (y == -100).tolist()
    assert (h.grad.abs().sum(1) == 0).tolist() == (y == -100).tolist()
    for parameter in bands.softmax.tail[1].parameters():
        assert parameter.grad is not None and not parameter.grad.any()


def test_a_token_is_read_with_the_tables_that_predict_it():
    bands = TiedBands(16, V, CUTOFFS, 2)
    tokens = torch.randint(0, V, (4, 30))
    tokens[0, :6] = torch.tensor([0, 9, 10, 39, 40, 99])
    x = bands(tokens)
    for place in [(0, k) for k in range(6)] + [(2, 5), (3, 29)]:
        token = int(tokens[place])
        band = sum(token >= cutoff for cutoff in CUTOFFS)
        if band == 0:
            expected = bands.softmax.head.weight[token]
        else:
            narrow, table = bands.softmax.tail[band - 1]
            expected = sum(table.weight[token - BOUNDS[band], c] * narrow.weight[c] for c in range(16 // 2**band))
        torch.testing.assert_close(x[place], expected)
    h = torch.randn(16)
    narrow, table = bands.softmax.tail[0]
    torch.testing.assert_close(table(narrow(h))[3], bands(torch.tensor(13)) @ h)


def test_phases_of_a_rare_word_are_on_a_torus():
    """A whole turn of one of them changes nothing, and the state is linear in their features."""
    bands = PhaseBands(torch.ones(16), V, CUTOFFS, 2)
    tokens = torch.tensor([0, 9, 10, 39, 40, 99])
    theta = bands(tokens)
    torch.testing.assert_close(theta[:2], bands.table[0].weight[[0, 9]])
    for row, (band, number) in enumerate([(1, 0), (1, 29), (2, 0), (2, 59)], start=2):
        phi, U = bands.table[band].weight[number], bands.map[band - 1].weight
        expected = sum(U[:, c] * phi[c].cos() + U[:, len(phi) + c] * phi[c].sin() for c in range(16 // 2**band))
        torch.testing.assert_close(theta[row], expected)
    for table in bands.tables()[1:]:
        table.data[:, 0] += 2 * math.pi
    torch.testing.assert_close(bands(tokens), theta, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", MODELS_IN_BANDS)
def test_all_bands_start_alike(kind):
    """Vectors of tokens and logits within a band vary alike, so that no band begins larger than another."""
    model = kind(6000, 64, 2, 2, 24, cutoffs=[2000, 4000], div_value=4)
    x = model.embedding(torch.arange(6000)).detach()
    scores = model.logits(model.hidden(torch.randint(0, 6000, (2, 40)))).detach()
    for values, near in ((x, 0.15), (scores, 0.6)):
        over = values if values is x else values.flatten(0, 1).T
        spread = [float(over[low:high].std(0).mean()) for low, high in pairwise([0, 2000, 4000, 6000])]
        assert max(spread) < (1 + near) * min(spread), spread


@pytest.mark.parametrize("kind", MODELS_IN_BANDS)
@pytest.mark.parametrize("gradients", [True, False])
def test_no_logits_of_a_band_are_more_than_the_bound(kind, gradients, monkeypatch, largest_tensor):
    """With 267,735 words, of which all targets are the rarest: forward and backward."""
    n, largest = 267_735, 207_735
    model = kind(n, 8, 1, 1, 8, cutoffs=[20_000, 60_000], div_value=2)
    tokens, targets = torch.randint(0, n, (2, 40)), torch.randint(60_000, n, (2, 40))
    plain = model(tokens, targets=targets)
    bound = 12 * largest + 5
    monkeypatch.setattr(cross_entropy, "MOST_LOGITS", bound)
    with largest_tensor() as seen, torch.set_grad_enabled(gradients):
        nats = model(tokens, targets=targets)
        if gradients:
            nats.sum().backward()
    assert 12 * largest <= seen.numbers <= bound
    torch.testing.assert_close(nats, plain, rtol=1e-5, atol=1e-5)
    assert not gradients or all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("kind", MODELS_IN_BANDS)
def test_parts_rates_and_decay_of_tables_and_maps(kind):
    model = made(kind)
    parts, fsn = parameters_by_part(model), kind is FSN
    widths = [16, 8, 4]
    sizes = [high - low for low, high in pairwise(BOUNDS)]
    rows = sum(size * width for size, width in zip(sizes, widths, strict=True))
    seen = 32 if fsn else 16  # what the readout sees
    readout = (sizes[0] + 2) * seen + sum(n * seen // 2**b for b, n in enumerate(sizes[1:], 1))
    assert parts["embedding"] == (rows if fsn else readout)
    assert parts.get("readout", 0) == (readout if fsn else 0)
    maps = sum(seen * seen // 2**b for b in (1, 2)) + (sum(16 * 2 * w for w in widths[1:]) if fsn else 0)
    assert parts["band_maps"] == maps
    assert parts["total"] == sum(n for name, n in parts.items() if name != "total")
    optim = compose("train", ["optim.embedding_lr=5", "optim.lr=0.01"]).optim
    groups = parameter_groups(model, optim)
    of = {id(p): (group["lr_scale"], group["weight_decay"] > 0) for group in groups for p in group["params"]}
    assert {of[id(table)] for table in model.embedding.tables()} == {(5.0, False)}
    assert {of[id(U)] for U in model.embedding.band_maps()} == {(1.0, True)}
    if fsn:
        assert {of[id(p)] for p in model.readout.parameters()} == {(1.0, True)}


@pytest.mark.parametrize("kind", MODELS_IN_BANDS)
def test_floating_point_operations_are_those_of_the_first_band(kind):
    """More rare words change nothing."""
    few, many = (kind(n, 16, 2, 2, 24, cutoffs=[10, 40], div_value=2) for n in (100, 5000))
    more = kind(100, 16, 2, 2, 24, cutoffs=[20, 40], div_value=2)
    of = [flops_per_token(model, 8) for model in (few, many, more)]
    assert of[0] == of[1]
    assert of[2] - of[0] == 10 * 6 * (32 if kind is FSN else 16)


@pytest.mark.parametrize(
    ("cutoffs", "width"), [([], 16), ([0, 5], 16), ([5, 5], 16), ([50, 20], 16), ([5, 100], 16), ([5, 50], 8)]
)
def test_cutoffs_that_make_no_bands_are_refused(cutoffs, width):
    with pytest.raises(ValueError, match="cutoffs="):
        checked_cutoffs(cutoffs, 100, width, 4)


WORDS = ["data=wikitext103", "data.raw=false", "data.tokenizer=words"]


@pytest.mark.parametrize("model", sorted(MODELS))
def test_words_have_bands_unless_they_are_few(model):
    """At the budget of scale=1m, which counts no table."""

    def resolved(size, *more):
        return resolve_shape(compose("train", [f"model={model}", "scale=1m", *WORDS, *more]), size)

    config = resolved(267_735)
    assert config.model.cutoffs == [20_000, 60_000] and resolve_shape(config, 267_735) == config
    with torch.device("meta"):
        built = build_model(config.model, 267_735)
    parts = parameters_by_part(built)
    counted = parts["total"] - parts["embedding"] - parts.get("readout", 0)
    assert abs(counted - 1_000_000) <= 5000 and parts["band_maps"] > 0
    assert resolved(30_000).model.cutoffs == [20_000]
    assert resolved(20_000).model.cutoffs is None
    assert resolved(267_735, "model.cutoffs=[]").model.cutoffs == []
    assert resolved(100, "model.cutoffs=[10,50]", "model.div_value=2").model.cutoffs == [10, 50]
    with pytest.raises(UserError, match=r"model.cutoffs=\[10,200\]: the vocabulary has 100 tokens; type smaller ones"):
        resolved(100, "model.cutoffs=[10,200]")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (["model.cutoffs=[10]"], r"model.cutoffs changes nothing here: it needs data.tokenizer=words or bpe"),
        (["model.cutoffs=[]"], "model.cutoffs changes nothing here"),
        (["data.tokenizer=bpe", "model.div_value=2"], "model.div_value changes nothing here"),
        ([*WORDS, "model.cutoffs=[]", "model.div_value=2"], "model.div_value changes nothing here"),
        ([*WORDS, "model.cutoffs=[5,3]"], r"model.cutoffs=\[5,3\]: takes whole numbers from 1 on that rise"),
        ([*WORDS, "model.cutoffs=[0,3]"], "takes whole numbers from 1 on that rise"),
        ([*WORDS, "model=fsn", "model.readout=tied", "model.cutoffs=[9]"], "model.readout=tied has no bands"),
    ],
)
def test_what_changes_nothing_or_cannot_be_is_one_line(asked, says):
    with pytest.raises(UserError, match=says) as error:
        compose("train", asked)
    assert "\n" not in str(error.value)


def test_a_tied_readout_of_phases_stays_whole():
    config = resolve_shape(compose("train", ["model=fsn", "scale=1m", *WORDS, "model.readout=tied"]), 267_735)
    assert config.model.cutoffs is None


def test_cuda_graphs_are_refused_where_the_loss_is_read_in_parts(monkeypatch):
    config = compose("train", ["trainer.cuda_graphs=true", "data.context=8", "batch_size=2"])
    require_whole_logits(config, Transformer(V, 16, 1, 2, 24))
    with pytest.raises(UserError, match="the loss over 100 tokens is read in parts: leave it out"):
        require_whole_logits(config, made(Transformer))
    monkeypatch.setattr(cross_entropy, "MOST_LOGITS", 16 * V - 1)
    with pytest.raises(UserError, match="read in parts"):
        require_whole_logits(config, Transformer(V, 16, 1, 2, 24))
