"""The operator holds little beside what is kept anyway."""

import pytest
import torch

from ssa import tiled
from training.benchmarks.layers import LAYERS, peak_bytes


@pytest.mark.skipif(tiled.how() != "compiled", reason="chunks in plain operations hold more at once")
@pytest.mark.parametrize(("name", "most"), [("ssa", 1.2), ("ssa_bidirectional", 1.2), ("ssa_osn", 1.45)])
def test_a_layer_takes_little_more_memory_than_sdpa(name, most):
    """That of OSN holds frequencies with positions twice, as queries and as delayed keys."""
    x = torch.randn(1, 512, 512)
    sdpa, ours = (peak_bytes(LAYERS[each](512, 8), x) for each in ("sdpa", name))
    assert ours <= most * sdpa, ours / sdpa
