"""The layer benchmark: every layer at every length, in turn; memory counted by allocations; the published operator."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from configs.compose import compose
from configs.errors import UserError
from configs.schema import BLOCKS, LAYERS
from ssa.published import PublishedSteps
from training.benchmarks import layers as benchmark_layers
from training.benchmarks.layers import LayerTiming, measure_layers, memory_exponent, peak_bytes

ROOT = Path(__file__).parents[3]
SMALL = ["task=layers", "d_model=16", "n_heads=2", "lengths=[8,12]", "rounds=2"]


def test_every_layer_and_length_is_measured():
    assert set(LAYERS + BLOCKS) == set(benchmark_layers.LAYERS)
    threads, rounds = torch.get_num_threads(), []
    timings = measure_layers(compose("bench", SMALL), rounds.append)
    assert rounds == [1, 2] and torch.get_num_threads() == threads
    assert [(t.layer, t.tokens) for t in timings] == [(name, n) for n in (8, 12) for name in LAYERS]
    assert all(t.seconds > 0 and t.peak_memory_bytes > 0 for t in timings)
    assert [t.ratio for t in timings if t.layer == "sdpa"] == [1.0, 1.0]


def test_blocks_are_of_the_size_that_the_author_timed():
    with torch.device("meta"):
        for name in BLOCKS:
            block = benchmark_layers.LAYERS[name](512, 8)
            assert 3.1e6 < sum(p.numel() for p in block.parameters()) < 3.5e6, name
    timings = measure_layers(compose("bench", [*SMALL, f"layers=[{','.join(BLOCKS)}]", "rounds=1"]))
    assert [t.layer for t in timings] == 2 * list(BLOCKS)


def test_peak_memory_is_what_was_held_at_once():
    class Holds(nn.Module):
        def forward(self, x):
            a = torch.zeros(1000, dtype=torch.float64)
            del a
            return x + torch.zeros(3000).sum() * torch.zeros(500).sum()

    x = torch.zeros(1, 1, 1)
    assert 4 * 3000 <= peak_bytes(Holds(), x) < 4 * 4000


def test_explicit_softmax_is_sdpa_with_its_matrices_held():
    torch.manual_seed(0)
    sdpa, explicit = (benchmark_layers.LAYERS[name](64, 4) for name in ("sdpa", "softmax_explicit"))
    explicit.load_state_dict(sdpa.state_dict())
    x = torch.randn(2, 33, 64)
    assert torch.allclose(explicit(x), sdpa(x), atol=1e-6)
    fused, held = (peak_bytes(layer, torch.randn(1, 512, 64)) for layer in (sdpa, explicit))
    matrices = 4 * 512**2 * 4  # heads, N x N, float32
    assert fused < matrices and 2 * matrices < held < 4 * matrices + fused


def test_the_exponent_is_that_of_a_power_law():
    timings = [LayerTiming("ssa", n, 1.0, 1.0, int(3 * n**1.5)) for n in (128, 1024, 2048, 4096)]
    timings[0] = LayerTiming("ssa", 128, 1.0, 1.0, 10**9)  # too short to count
    assert memory_exponent(timings, "ssa") == pytest.approx(1.5, abs=1e-3)
    assert memory_exponent(timings[:2], "ssa") is None


def test_the_published_steps_are_the_published_operator():
    torch.manual_seed(0)
    steps = PublishedSteps(16, 2).double()
    steps.layer.omega.weight.data *= 0.3
    steps.layer.log_K.data += 1.0
    x = torch.randn(2, 10, 16, dtype=torch.double)
    assert torch.allclose(steps(x), steps.layer(x), atol=1e-10)
    ours, theirs = (torch.autograd.grad(f(x).square().sum(), steps.layer.omega.weight)[0] for f in (steps, steps.layer))
    assert theirs.abs().max() > 1e-4 and torch.allclose(ours, theirs, atol=1e-8, rtol=1e-6)


def test_the_command_prints_a_table_and_writes_what_it_measured(tmp_path):
    files = [f"output={tmp_path / 'layers.json'}", f"figure={tmp_path / 'layers'}"]
    command = [sys.executable, "bench.py", *SMALL, "lengths=[8,1024,1100]", "layers=[sdpa,ssa]", *files]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stderr == ""
    assert "time / sdpa" in out.stdout and "Peak memory grows as N to the power of" in out.stdout
    result = json.loads((tmp_path / "layers.json").read_text())
    assert len(result["timings"]) == 6 and result["memory_exponents"]["ssa"] < 1.5
    assert all((tmp_path / f"layers.{ending}").stat().st_size > 1000 for ending in ("png", "svg"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["layers=[sdpa,sssa]"],
            "legal are sdpa, sdpa_bidirectional, softmax_explicit, transformer, .*, published, .*; type layers=",
        ),
        (["lengths=[1]"], "lengths=1: must be at least 2"),
        (["lengths=[]"], "lengths=[]: takes one length or more; type for example lengths=[512,1024]"),
        (["n_heads=3"], "d_model=16 is not divisible by n_heads=3"),
        (["n_heads=16"], "is an odd head width"),
        (["precision=bf16"], "measures float32 without compile"),
    ],
)
def test_what_cannot_be_measured_is_one_line(arguments, message):
    with pytest.raises(UserError, match=message.replace("[", r"\[")) as error:
        compose("bench", [*SMALL, *arguments])
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="figure= is drawn by task=layers"):
        compose("bench", ["figure=x"])
