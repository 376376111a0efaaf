"""The operator holds little beside what is kept anyway."""

import torch

from training.benchmarks.layers import LAYERS, peak_bytes


def test_a_layer_of_osn_takes_at_most_half_more_memory_than_sdpa(compiled_always):
    """The uncompiled maps hold more of their steps at once."""
    x = torch.randn(1, 512, 512)
    sdpa, osn = (peak_bytes(LAYERS[name](512, 8), x) for name in ("sdpa", "ssa_osn"))
    assert osn <= 1.5 * sdpa, osn / sdpa
