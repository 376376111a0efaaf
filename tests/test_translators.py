"""What every translator owes: padding that changes nothing, an exact causal target, decoding equal to the full pass."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from configs.compose import compose
from configs.errors import UserError
from configs.schema import MODELS, RunConfig
from measures.flops import flops_per_target
from synchrony_blocks import MemoryCache, TokenBuffer, Translator, reorder
from training.budget import resolve_shape
from training.build import build_model, parameters_by_part

WEIGHTED = "fsn_native model.feed_forward=native"
V, M, N = 64, 9, 21  # vocabulary, longest source, target: longer than a new cache has room for
VARIANTS = [
    *([f"model={name}"] for name in MODELS),
    ["model=transformer", "model.delayed_heads=1", "model.lag_heads=1"],
    [
        "model=fsn",
        "model.local_layers=0",
        "model.copying_layers=2",
        "model.null=none",
        "model.quadratures=2",
        "model.increment_limit=0.5",
    ],
    ["model=fsn", "model.readout=tied", "model.null=learned", "model.harmonics=2", "model.kernel=copying"],
    ["model=osn", "model.lag=0", "model.delayed_heads=0", "model.feed_forward=gelu"],
    ["model=osn", "model.query_frequency=separate", "model.position=false", "model.lag=0"],
    ["model=osn", "model.top_k=12"],
    f"model={WEIGHTED}".split(),
]


def resolved(*overrides: str, vocabulary_size: int = V) -> RunConfig:
    """The config of a translator, without a corpus."""
    return resolve_shape(compose("train", ["task=translation", "data=numbers", *overrides]), vocabulary_size)


def translator(*overrides: str, vocabulary_size: int = V, scale: str = "smoke") -> Translator:
    torch.manual_seed(0)
    config = resolved(*overrides, f"scale={scale}", vocabulary_size=vocabulary_size)
    model = build_model(config.model, vocabulary_size, "translation")
    assert isinstance(model, Translator)
    return model


@pytest.fixture(params=VARIANTS, ids=" ".join)
def model(request: pytest.FixtureRequest) -> Translator:
    """In eval mode and float64, its parameters far enough from their start that every path carries signal."""
    model = translator(*request.param)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.double().eval()


def pairs(rows: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Sources of different lengths, inputs, and the sources' mask."""
    torch.manual_seed(1)
    mask = torch.arange(M) < torch.tensor([M, 4, 6])[:rows, None]
    return torch.randint(0, V, (rows, M)).masked_fill(~mask, 0), torch.randint(0, V, (rows, N)), mask


def same(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


@torch.no_grad()
def test_padding_changes_nothing(model: Translator) -> None:
    """A pair gives by itself what it gives beside longer ones, whatever is at the padding."""
    source, inputs, mask = pairs()
    logits = model(source, inputs, mask)
    longer = torch.nn.functional.pad(mask, (0, 5))
    other = torch.nn.functional.pad(source, (0, 5)).masked_fill(~longer, V - 1)
    changed = model(other, inputs, longer)
    same(changed, logits)
    for row, real in enumerate(mask.sum(1).tolist()):
        same(model(source[row : row + 1, :real], inputs[row : row + 1])[0], logits[row])


@torch.no_grad()
def test_padded_states_of_the_encoder_do_not_matter(model: Translator) -> None:
    source, inputs, mask = pairs()
    memory = model.encode(source, mask)
    poisoned = memory.masked_fill(~mask[:, :, None], math.nan)
    states = [model.decoder.hidden(inputs, **model.attended(x, mask)) for x in (memory, poisoned)]
    assert states[0].isfinite().all() and torch.equal(*states)
    steps = [model.step(inputs[:, 0], model.init_cache(x, mask))[0] for x in (memory, poisoned)]
    assert torch.equal(*steps)


@torch.no_grad()
def test_the_target_knows_its_past_alone_and_the_source_whole(model: Translator) -> None:
    source, inputs, mask = pairs()
    logits = model(source, inputs, mask)
    for cut in (1, 10, N - 1):
        other = inputs.clone()
        other[:, cut:] = (other[:, cut:] + 1) % V
        changed = model(source, other, mask)
        assert torch.equal(changed[:, :cut], logits[:, :cut])
        assert not torch.equal(changed[:, cut], logits[:, cut])
    memory = model.encode(source[:1])
    for place in (0, M - 1):  # each state of the encoder hears of the last token, and of the first
        other = source[:1].clone()
        other[:, place] = (other[:, place] + 1) % V
        assert ((model.encode(other) - memory).abs().amax(-1) > 1e-6)[0, [0, M // 2, M - 1]].all()
        assert ((model(other, inputs[:1]) - model(source[:1], inputs[:1])).abs().amax(-1) > 1e-6).all()
    swapped = source[:1].clone()
    swapped[:, [2, 3]] = swapped[:, [3, 2]]
    assert (model(swapped, inputs[:1]) - model(source[:1], inputs[:1])).abs().max() > 1e-6


@torch.no_grad()
@pytest.mark.parametrize("masked", [True, False])
def test_decoding_token_by_token_equals_the_full_pass(model: Translator, masked: bool) -> None:
    source, inputs, mask = pairs()
    real = mask if masked else None
    logits = model(source, inputs, real)
    cache = model.init_cache(model.encode(source, real), real)
    for t in range(N):
        step, cache = model.step(inputs[:, t], cache)
        same(step, logits[:, t])


@torch.no_grad()
def test_a_reordered_cache_goes_on_with_the_picked_rows(model: Translator) -> None:
    """As beam search does: rows repeat, move within a sentence, and leave."""
    source, inputs, mask = pairs()
    cache = model.init_cache(model.encode(source, mask), mask)
    rows = torch.arange(3)
    picks = {0: [0, 0, 1, 1, 2, 2], 5: [1, 0, 2, 3, 4, 4], 17: [5, 2]}
    history = inputs[:, :1]
    for t in range(N):
        step, cache = model.step(history[:, t], cache)
        same(step, model(source[rows], history, mask[rows])[:, -1])
        if t in picks:
            index = torch.tensor(picks[t])
            cache, rows, history = reorder(cache, index), rows[index], history[index]
        torch.manual_seed(t)
        history = torch.cat((history, torch.randint(0, V, (len(rows), 1))), dim=1)


def kept(cache: object, kind: type) -> list:
    """All of a kind in a nested cache."""
    if isinstance(cache, kind):
        return [cache]
    parts = cache.values() if isinstance(cache, dict) else cache if isinstance(cache, list | tuple) else []
    return [found for part in parts for found in kept(part, kind)]


@torch.no_grad()
def test_nothing_is_copied_that_stays_as_it_is(model: Translator) -> None:
    source, inputs, mask = pairs()
    cache = model.init_cache(model.encode(source, mask), mask)
    cache = reorder(cache, torch.tensor([0, 0, 1, 1]))
    _, cache = model.step(inputs[[0, 0, 1, 1], 0], cache)
    places = [[x.data_ptr() for x in kept(part, Tensor)] for part in kept(cache, MemoryCache)]
    buffers = kept(cache, TokenBuffer)
    assert len(places) >= 2 and all(places)

    def of(cache: object) -> list[list[int]]:
        return [[x.data_ptr() for x in kept(dict(part), Tensor)] for part in kept(cache, MemoryCache)]

    places = of(cache)
    assert of(reorder(cache, torch.arange(4))) == places
    assert all(a is b for a, b in zip(kept(reorder(cache, torch.arange(4)), TokenBuffer), buffers, strict=True))
    assert of(reorder(cache, torch.tensor([1, 1, 2, 3]))) == places, "the rows' sentences are the same"
    moved = of(reorder(cache, torch.tensor([2, 1, 2, 3])))
    assert not {place for part in moved for place in part} & {place for part in places for place in part}


@pytest.mark.parametrize("name", MODELS)
def test_untrained_translators_start_near_the_uniform_guess(name: str) -> None:
    vocabulary_size = 4096
    model = translator(f"model={name}", vocabulary_size=vocabulary_size, scale="1m")
    source, inputs, targets = torch.randint(0, vocabulary_size, (3, 4, 30))
    nats = torch.nn.functional.cross_entropy(model(source, inputs).flatten(0, 1), targets.flatten())
    assert float(nats.detach()) == pytest.approx(math.log(vocabulary_size), rel=0.1)


def test_every_parameter_gets_a_gradient(model: Translator) -> None:
    source, inputs, mask = pairs()
    model(source, inputs, mask).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0, name


@torch.no_grad()
@pytest.mark.parametrize("name", ["transformer", "fsn", "osn"])
def test_dropout_is_for_training_alone(name: str) -> None:
    source, inputs, mask = pairs()
    plain = translator(f"model={name}", "model.dropout=0.0")
    config = resolved(f"model={name}", "scale=smoke").model
    torch.manual_seed(0)
    model = build_model(replace(config, dropout=0.3), V, "translation")
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), model.parameters(), strict=True))
    assert not torch.equal(model(source, inputs, mask), model(source, inputs, mask))
    assert torch.equal(model.eval()(source, inputs, mask), plain(source, inputs, mask))
    off = {place for place, module in model.named_modules() if isinstance(module, torch.nn.Dropout) and module.p == 0}
    assert off == ({"decoder.dropout"} if name == "fsn" else set()), "phases of the embedding are left whole"


@pytest.mark.parametrize("scale", ["smoke", "1m", "base", "big"])
@pytest.mark.parametrize("name", [*MODELS, WEIGHTED])
def test_every_translator_meets_its_budget(name: str, scale: str) -> None:
    config = resolved(*f"model={name} scale={scale}".split(), vocabulary_size=37_000)
    with torch.device("meta"):
        parts = parameters_by_part(build_model(config.model, 37_000, "translation"))
    without_tables = parts["total"] - parts["embedding"] - parts.get("readout", 0)
    tolerance = 0.01 if (name, scale) == (WEIGHTED, "smoke") else 0.005  # half of one mode in four layers
    assert without_tables == pytest.approx(config.scale.parameters, rel=tolerance)
    assert parts["total"] == sum(count for part, count in parts.items() if part != "total")
    assert resolve_shape(config, 37_000) == config


def test_the_base_transformer_has_the_published_shape() -> None:
    config = resolved("model=transformer", "scale=base", vocabulary_size=37_000).model
    assert (config.width, config.n_layers, config.n_heads, config.ff_width) == (512, 6, 8, 1365)
    with torch.device("meta"):
        parts = parameters_by_part(build_model(config, 37_000, "translation"))
    assert 62e6 < parts["total"] < 65e6
    assert (parts["encoder_mixer"], parts["decoder_mixer"], parts["decoder_cross"]) == (6 * 4 * 512**2,) * 3
    big = resolved("model=transformer", "scale=big", vocabulary_size=37_000).model
    assert (big.width, big.n_heads, big.ff_width) == (1024, 16, 2731)


def test_flops_per_target_token_against_a_count_by_hand() -> None:
    model = translator("model=transformer", scale="1m")
    width, layers, source, target = 128, 4, 48, 32
    parts = parameters_by_part(model)
    of_source = parts["encoder_mixer"] + parts["encoder_feed_forward"] + parts["decoder_cross"] // 2  # keys, values
    of_target = parts["decoder_mixer"] + parts["decoder_feed_forward"] + parts["decoder_cross"] // 2 + width * V
    # 2 a multiply-add, forward and twice that backward; attention of fused kernels computes its scores again.
    pairs = source * source + target * target + target * source
    expected = 6 * (of_source * source + of_target * target) + layers * 6 * 2 * width * pairs
    assert flops_per_target(model, source, target) == pytest.approx(expected / target, rel=0.04)


@pytest.mark.parametrize("name", MODELS)
def test_flops_grow_with_either_length(name: str) -> None:
    model = translator(f"model={name}")
    least = flops_per_target(model, 32, 32)
    assert flops_per_target(model, 64, 32) > 1.2 * least > 1.2 * flops_per_target(model, 32, 64)
    assert next(model.parameters()).device.type == "cpu"


def test_dropout_is_refused_where_there_is_none() -> None:
    with pytest.raises(UserError, match=r"^model.dropout changes nothing here: it needs task=translation"):
        compose("train", ["model=fsn", "model.dropout=0.1"])
    with pytest.raises(UserError, match=r"^model.dropout=1.0"):
        compose("train", ["model=fsn", "model.dropout=1.0"])


def test_a_model_without_a_translator_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    config = resolved("model=transformer", "scale=smoke").model
    monkeypatch.setattr(type(config), "translator", None)
    with pytest.raises(UserError, match=r"^model=transformer is no translator"):
        build_model(config, V, "translation")


def test_an_osn_is_calibrated_for_sentences_not_for_the_longest() -> None:
    assert resolved("model=osn", "scale=smoke").model.calibration_length == 32
    assert resolved("model=osn", "scale=smoke", "model.calibration_length=60").model.calibration_length == 60


@pytest.mark.cuda
def test_cuda_gives_what_the_cpu_gives(model: Translator) -> None:
    """Logits, gradients and cached steps in float64, where both choose other kernels and ways to leave padding out."""
    from copy import deepcopy

    source, inputs, mask = pairs()
    there = deepcopy(model).cuda()
    on_cuda = [x.cuda() for x in (source, inputs, mask)]
    here, logits = model(source, inputs, mask), there(*on_cuda)
    torch.testing.assert_close(logits.cpu(), here, rtol=0, atol=1e-8)
    here.square().mean().backward()
    logits.square().mean().backward()
    for ours, theirs in zip(model.parameters(), there.parameters(), strict=True):
        torch.testing.assert_close(theirs.grad.cpu(), ours.grad, rtol=1e-6, atol=1e-9)
    with torch.no_grad():
        cache = there.init_cache(there.encode(on_cuda[0], on_cuda[2]), on_cuda[2])
        for t in range(3):
            step, cache = there.step(on_cuda[1][:, t], cache)
            torch.testing.assert_close(step.cpu(), here[:, t].detach(), rtol=0, atol=1e-8)
            cache = reorder(cache, torch.arange(3, device="cuda"))
