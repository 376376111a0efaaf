"""The OSN as a translator: its calibrated start, and that calibration leaves everything else alone."""

import pytest
import torch

from ssa import OSNTranslator


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"position": False}, {"query_frequency": "separate"}], ids=str)
@pytest.mark.parametrize("share", [0.1, 0.3])
def test_the_chosen_share_of_pairs_locks_in_every_attention(share: float, options: dict) -> None:
    torch.manual_seed(0)
    options = {"lag": 0.0} | options if "position" in options else options
    model = OSNTranslator(500, 48, 3, 4, 32, calibration_length=24, locked_fraction=share, dropout=0.2, **options)
    assert model.training and all(module.training for module in model.modules())
    found: dict[str, list[float]] = {}

    def look(name):
        def hook(mixer, given, keywords, _):
            shares = mixer.diagnostics(given[0], keywords.get("memory"))["locked_fraction"]
            found[name] = shares.tolist()

        return hook

    attentions = {name: module for name, module in model.named_modules() if name.endswith((".mixer", ".cross"))}
    for name, module in attentions.items():
        module.register_forward_hook(look(name), with_kwargs=True)
    model.eval()(*torch.randint(0, 500, (2, 40, 24)))
    assert len(found) == 9 and found.keys() == attentions.keys()
    for name, shares in found.items():
        assert shares == pytest.approx([share] * 4, abs=0.15 * share + 0.02), name


def test_dropout_changes_no_start() -> None:
    starts = []
    for dropout in (0.0, 0.5):
        torch.manual_seed(0)
        starts.append(OSNTranslator(50, 16, 2, 2, 8, calibration_length=8, dropout=dropout).state_dict())
    assert all(torch.equal(starts[0][name], starts[1][name]) for name in starts[0])
    torch.manual_seed(0)
    published = OSNTranslator(50, 16, 2, 2, 8, start="published").decoder.layers[0].cross
    assert published.alpha.tolist() == published.K.tolist() == [1.0, 1.0]
