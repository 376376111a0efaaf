"""The translator of the FSN against its loops, and which layer couples to what."""

import pytest
import torch

from fsn import FSNTranslator, reference
from fsn.copying import CopyingHead
from fsn.local_coupling import LocalCoupling

FORMS = {
    "fsn": {},
    "kuramoto": {"delay": False, "frustration": False, "local_layers": 0, "copying_layers": 0},
    "two quadratures, plain modes": {"feed_forward": "mean_field", "quadratures": 2},
    "fsn_native": {"feed_forward": "mean_field"},
    "weighted modes, tied readout": {"feed_forward": "native", "readout": "tied", "copying_layers": 2},
    "two quadratures, a learned null score": {"quadratures": 2, "null": "learned", "local_layers": 0, "harmonics": 2},
}


@pytest.mark.parametrize("form", FORMS)
def test_logits_and_gradients_are_those_of_the_loops(form: str) -> None:
    torch.manual_seed(0)
    model = FSNTranslator(7, 4, 2, 2, 3, reach=2, **FORMS[form]).double()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    source, inputs = torch.randint(0, 7, (2, 4)), torch.randint(0, 7, (2, 3))
    mask = torch.tensor([[True] * 4, [True, False, True, False]])
    slow = torch.stack([reference.translation(model, *row) for row in zip(source, inputs, mask.tolist(), strict=True)])
    fast = model(source, inputs, mask)
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-10)
    weight = torch.linspace(-1, 2, fast.numel(), dtype=torch.double).view_as(fast)
    parameters = list(model.parameters())
    for ours, theirs in zip(
        torch.autograd.grad((fast * weight).sum(), parameters),
        torch.autograd.grad((slow * weight).sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


def test_local_layers_and_copying_heads_are_where_they_belong() -> None:
    model = FSNTranslator(7, 8, 3, 1, 3, local_layers=1, copying_layers=2)
    for half, causal in ((model.encoder, False), (model.decoder.layers, True)):
        assert [isinstance(layer.mixer, LocalCoupling) for layer in half] == [True, False, False]
        assert all(layer.mixer.causal == causal and layer.copying is None for layer in half)
    assert all(not layer.crosses() for layer in model.encoder)
    heads = [layer.cross_copying for layer in model.decoder.layers]
    assert [isinstance(head, CopyingHead) for head in heads] == [False, True, True]
    kernels = [layer.cross.kernel_real.shape[1] for layer in model.decoder.layers]
    assert kernels == [2, 2, 2], "a source token and its successor"
    assert model.encoder[1].mixer.kernel_real.shape[1] == 3, "and, in the encoder, its predecessor"
