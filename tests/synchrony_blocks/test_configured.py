"""What every layer and network offers of its arguments: device, dtype, a fresh start, a line to print, two files."""

import json
import os
import sys
from copy import deepcopy
from functools import partial
from pathlib import Path

import pytest
import safetensors.torch
import torch

from baseline import CrossAttention, SelfAttention, Transformer
from fsn import FSN, CollectiveModes, SynchronizationAttention
from fsn.copying import CopyingHead
from fsn.local_coupling import LocalCoupling
from ssa import OSN, OSNBlock, SelectiveSynchronizationAttention

SSA = partial(SelectiveSynchronizationAttention, 8, 2)
NETWORKS = {
    "FSN": partial(FSN, 20, 8, 2, 2, 8),
    "FSN in bands": partial(FSN, 20, 8, 2, 2, 8, cutoffs=[5], div_value=2),
    "OSN": partial(OSN, 20, 8, 1, 2, 8, calibration_length=16),
    "OSN, published": partial(OSN, 20, 8, 1, 2, 8, start="published", position_share=(0.2, 0.4)),
    "Transformer": partial(Transformer, 20, 8, 1, 2, 8, lag_heads=1),
}
MODULES = NETWORKS | {
    "SynchronizationAttention": partial(SynchronizationAttention, 8, 2),
    "LocalCoupling": partial(LocalCoupling, 8, 2),
    "CopyingHead": partial(CopyingHead, 8),
    "CollectiveModes": partial(CollectiveModes, 8, 3),
    "CollectiveModes, plain": partial(CollectiveModes, 8, 3, weighted=False, quadratures=1),
    "SelectiveSynchronizationAttention": SSA,
    "a threshold that is not learned": partial(SSA, learn_theta=False),
    "OSNBlock": partial(OSNBlock, 8, 2),
    "SelfAttention": partial(SelfAttention, 8, 2),
    "CrossAttention": partial(CrossAttention, 8, 2),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_device_a_dtype_and_a_fresh_start(name: str) -> None:
    make = MODULES[name]
    torch.manual_seed(3)
    plain = make().state_dict()
    torch.manual_seed(3)
    double = make(dtype=torch.float64)
    for key, value in double.state_dict().items():
        assert value.dtype == torch.float64 and torch.equal(value, plain[key].double()), key
    layer = make(device="meta")
    assert all(tensor.is_meta for tensor in (*layer.parameters(), *layer.buffers()))
    layer = layer.to_empty(device="cpu")
    parameters = list(layer.parameters())
    torch.manual_seed(3)
    layer.reset_parameters()
    assert all(a is b for a, b in zip(parameters, layer.parameters(), strict=True))
    assert all(torch.equal(value, plain[key]) for key, value in layer.state_dict().items())
    assert deepcopy(layer).arguments == layer.arguments


def test_what_is_not_at_its_default_is_printed() -> None:
    assert repr(CopyingHead(8, causal=False)) == "CopyingHead(n_phases=8, causal=False)"
    assert repr(FSN(20, 8, 1, reach=3)).splitlines()[1] == "  vocabulary_size=20, n_phases=8, n_layers=1, reach=3"
    with pytest.raises(TypeError, match=r"missing a required argument: 'n_phases'"):
        CopyingHead(**{})


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_saved_comes_back(name: str, tmp_path: Path) -> None:
    model = NETWORKS[name]().bfloat16() if name == "Transformer" else NETWORKS[name]()
    model.save(tmp_path / "a" / "b")
    again = type(model).load(tmp_path / "a" / "b")
    assert again.arguments.keys() == model.arguments.keys()
    assert again.state_dict().keys() == model.state_dict().keys()
    assert all(p.requires_grad for p in again.parameters())
    tokens = torch.randint(0, 20, (2, 12))
    assert torch.equal(again(tokens), model(tokens))
    again(tokens).float().square().sum().backward()


def test_other_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    NETWORKS["FSN"]().save(tmp_path)
    with pytest.raises(ValueError, match=r"holds a network of class FSN: load it with FSN.load, not OSN.load$"):
        OSN.load(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"arguments": config["arguments"] | {"ff_width": 9}}))
    with pytest.raises(RuntimeError, match=r"model.safetensors does not fit .*config.json: .* size mismatch"):
        FSN.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"arguments": {"width": 9}}))
    with pytest.raises(ValueError, match=r"config.json has arguments that FSN does not take: .*'width'"):
        FSN.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"model.safetensors is not what save\(\) writes"):
        FSN.load(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"config.json is not what save\(\) writes"):
        FSN.load(tmp_path)
    expected = r"FSN.load takes a folder with config.json and model.safetensors, as save\(\) writes it"
    with pytest.raises(FileNotFoundError, match=rf"^there is no .*nothing/config.json: {expected}$"):
        FSN.load(tmp_path / "nothing")
    with pytest.raises(ValueError, match=rf"config.json is not a folder: {expected}$"):
        FSN.load(tmp_path / "config.json")
    for missing in ("safetensors", "safetensors.torch"):
        monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r"^save\(\) and load\(\) need safetensors: pip install safetensors$"):
        FSN.load(tmp_path)


@pytest.mark.parametrize("fails", ["weights", "arguments", "between"])
def test_a_save_that_fails_leaves_no_mixture(fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was there stays as it was; only between the two files is there none."""
    first, second = NETWORKS["FSN"](), NETWORKS["FSN"]()
    first.save(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    place, name = {
        "weights": (safetensors.torch, "save_file"),
        "arguments": (Path, "write_text"),
        "between": (os, "replace"),
    }[fails]
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space left"):
        patch.setattr(place, name, full)
        second.save(tmp_path)
    left = {"model.safetensors"} | ({"config.json"} if fails != "between" else set())
    assert {path.name for path in tmp_path.iterdir()} == left
    if fails == "between":
        with pytest.raises(FileNotFoundError, match="there is no"):
            FSN.load(tmp_path)
    else:
        tokens = torch.arange(8)[None]
        assert torch.equal(FSN.load(tmp_path)(tokens), first(tokens))


@pytest.mark.parametrize("name", NETWORKS)
def test_generated_tokens_are_the_likeliest_of_the_full_pass(name: str) -> None:
    torch.manual_seed(0)
    model = NETWORKS[name]().double()
    prompt = torch.randint(0, 20, (3, 4))
    written = model.generate(prompt, 6, temperature=0)
    assert torch.equal(written[:, :4], prompt)
    assert torch.equal(written[:, 4:], model(written)[:, 3:-1].argmax(-1))
    assert torch.equal(model.generate(prompt, 6, top_k=1), written)
    assert torch.equal(model.generate(prompt, 0), prompt)
    first, again = (model.generate(prompt, 6, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, again)


def test_what_cannot_be_generated_is_named() -> None:
    model, prompt = NETWORKS["Transformer"](), torch.zeros(1, 2, dtype=torch.int64)
    for wrong, error, line in (
        ((prompt.float(), 1), ValueError, "prompt is torch.float32, not torch.int64"),
        ((prompt[0], 1), ValueError, r"prompt has shape \(2,\), not \(batch, tokens\)"),
        (([1], 1), TypeError, "prompt is a list, not a tensor"),
        ((prompt[:, :0], 1), ValueError, "a prompt has at least one token"),
        ((prompt + 20, 1), IndexError, "prompt has tokens out of range: there are 0 to 19"),
        ((prompt, -1), ValueError, "n_tokens=-1 is less than 0"),
    ):
        with pytest.raises(error, match=f"^{line}"):
            model.generate(*wrong)
    for name, value in (("temperature", -1.0), ("top_k", 0), ("top_p", 0.0), ("temperature", float("nan"))):
        with pytest.raises(ValueError, match=f"^{name}={value} is"):
            model.generate(prompt, 1, **{name: value})


@pytest.mark.parametrize("kind", [FSN, OSN, Transformer])
def test_impossible_sizes_are_named(kind: type) -> None:
    width = "n_phases" if kind is FSN else "d_model"
    for name in ("vocabulary_size", width, "n_layers", "n_heads", "ff_width"):
        for value, error, says in ((0, ValueError, "is less than 1"), (1.5, TypeError, "is not a whole number")):
            with pytest.raises(error, match=f"^{name}={value} {says}"):
                kind(**{name: value})
    with pytest.raises(ValueError, match=r"^tokens is torch.float32, not torch.int64: a token is a whole number$"):
        kind(20, 8, 1, 2, 8)(torch.zeros(1, 3))
