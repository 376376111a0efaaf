"""Maps of every model's heads: what they must be, and measures of maps whose values are known."""

import math

import pytest
import torch
from torch import nn

from configs.compose import compose
from configs.errors import UserError
from configs.schema import MODELS
from measures.head_maps import Heads, head_maps, measure_heads, normalised
from training.budget import resolve_shape
from training.build import build_model


@pytest.mark.parametrize("name", ["transformer", "fsn", "osn"])
def test_maps_are_causal_and_rows_sum_to_one(name):
    torch.manual_seed(0)
    model = build_model(resolve_shape(compose("train", [f"model={name}", "scale=smoke"]), 256).model, 256)
    maps = head_maps(model, torch.randint(0, 256, (3, 20)))
    assert len(maps) == len(model.layers)
    for A in maps:
        assert A.shape[0] == 3 and A.shape[2:] == (20, 20)
        assert torch.equal(A.triu(1), torch.zeros_like(A))
        start = 1 if name == "fsn" else 0  # its first token finds only the null slot
        assert torch.allclose(A.sum(-1)[:, :, start:], torch.ones(1), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", MODELS)
def test_maps_of_the_past_do_not_change_with_the_future(name):
    torch.manual_seed(0)
    model = build_model(resolve_shape(compose("train", [f"model={name}", "scale=smoke"]), 256).model, 256)
    tokens = torch.randint(0, 256, (2, 80))
    other = tokens.clone()
    other[:, 50:] = torch.randint(0, 256, (2, 30))
    for before, after in zip(head_maps(model, tokens), head_maps(model, other), strict=True):
        assert torch.equal(before[:, :, :50], after[:, :, :50])
        without_heads = before.shape[1] == 0  # a layer of local coupling
        assert without_heads or not torch.equal(before[:, :, 50:], after[:, :, 50:])


def test_the_transformers_map_is_what_it_mixes_values_with():
    torch.manual_seed(0)
    model = build_model(resolve_shape(compose("train", ["model=transformer", "scale=smoke"]), 256).model, 256).double()
    mixer, x = model.layers[0].mixer, torch.randn(2, 9, model.embedding.weight.shape[1], dtype=torch.double)
    v = mixer.qkv(x).unflatten(-1, (3, mixer.n_heads, -1))[:, :, 2].transpose(1, 2)
    expected = mixer.out((mixer.diagnostics(x)["attention"] @ v).transpose(1, 2).flatten(2))
    assert torch.allclose(mixer(x), expected, atol=1e-12)


def test_measures_of_known_maps():
    N = 6
    uniform = torch.ones(N, N).tril() / torch.arange(1, N + 1)[:, None]
    own = torch.eye(N)
    heads = measure_heads(torch.stack((uniform, own))[None])
    assert heads.entropy == pytest.approx([1.0, 0.0])
    assert heads.active == pytest.approx([1.0, 5 / 20])
    # The row of token i: |1/i - 1| + (i - 1)/i, over two.
    assert heads.diversity == pytest.approx(sum(1 - 1 / i for i in range(2, N + 1)) / (N - 1))
    assert measure_heads(torch.stack((own, own))[None]).diversity == 0.0
    assert measure_heads(own[None, None]).diversity == 0.0
    two = torch.zeros(1, 1, 3, 3)
    two[0, 0, 2, :2] = 0.5
    two[0, 0, 1, 0] = 1.0
    assert measure_heads(two).entropy[0] == pytest.approx(math.log(2) / math.log(3) / 2)


def test_a_layer_without_heads_has_no_measures():
    assert measure_heads(torch.zeros(2, 0, 5, 5)) == Heads(None, [], [])


def test_normalising_leaves_empty_rows_alone():
    A = torch.tensor([[[[0.0, 0.0], [0.2, 0.6]]]])
    assert torch.allclose(normalised(A), torch.tensor([[[[0.0, 0.0], [0.25, 0.75]]]]))


def test_a_model_without_maps_is_named():
    with pytest.raises(UserError, match="Linear does not show what its heads look at"):
        head_maps(nn.Linear(2, 2), torch.zeros(1, 2))
