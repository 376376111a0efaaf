"""The operator and the order parameter of SSA for float32 on a CPU, by the C++ of `synchrony_blocks.native`."""

import ctypes
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from synchrony_blocks import native


def _structure(name: str, **kinds: str) -> type[ctypes.Structure]:
    """A struct of ssa/cpp: names by the type of C."""
    types = {"int64": ctypes.c_int64, "view": _View, "pointer": ctypes.c_void_p, "float": ctypes.c_float}
    fields = [(field, types[kind]) for kind, names in kinds.items() for field in names.split()]
    return type(name, (ctypes.Structure,), {"_fields_": fields})


class _View(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        *((stride, ctypes.c_int64) for stride in ("of_batch", "of_head", "of_token")),
    ]


_Operands = _structure(
    "_Operands",
    int64="batch heads queries keys frequencies values causal same threads",
    view="q k v out grad grad_q grad_k grad_v",
    pointer="mask inverse_rho cos_theta middle Z grad_rho grad_cos scratch",
    float="floor cap",
)
_Phases = _structure(
    "_Phases",
    int64="batch heads tokens width causal threads",
    view="phi grad_phi",
    pointer="real grad r scratch",
    float="tiny",
)


WRITTEN = {"out", "Z", "grad_q", "grad_k", "grad_v", "grad_rho", "grad_cos", "r", "grad_phi"}


def takes(like: Tensor) -> bool:
    """Whether tensors of the type and device of `like` are computed here."""
    return native.takes(like, _check)


def how() -> str:
    """ "compiled", or why not."""
    return native.how(_check)


def known() -> str:
    """`how` as far as it is known without building anything: "compiled" where it is not."""
    return native.RESULTS.get(__name__, "compiled")


def attend(
    q: Tensor,
    k: Tensor | None,
    v: Tensor,
    inverse_rho: Tensor,
    cos_theta: Tensor,
    key_mask: Tensor | None,
    causal: bool,
    floor: float,
) -> tuple[Tensor, Tensor]:
    """out (B, H, N, W), laid out as (B, N, H, W), and Z (B, H, N), as `ssa.chunked.attend` gives them."""
    B, H, N, _ = q.shape
    out, Z = v.new_empty(B, N, H, v.shape[3]).transpose(1, 2), q.new_empty(B, H, N)
    given = {"q": q, "k": q if k is None else k, "v": v, "out": out, "Z": Z, "mask": key_mask}
    given |= {"inverse_rho": inverse_rho, "cos_theta": cos_theta}
    _call("attend", _Operands, given, **_sizes(q, k, v, causal), floor=floor)
    return out, Z


def gradients_of_attend(
    grad: Tensor,
    q: Tensor,
    k: Tensor | None,
    v: Tensor,
    inverse_rho: Tensor,
    cos_theta: Tensor,
    out: Tensor,
    Z: Tensor,
    key_mask: Tensor | None,
    causal: bool,
    cap: float | None,
    middle: Tensor,
) -> tuple[Tensor, Tensor | None, Tensor, Tensor, Tensor]:
    """As `ssa.chunked.gradients_of_attend`; `middle` (B, H, 1, E) is a point amid the keys."""
    given = {"q": q, "k": q if k is None else k, "v": v, "out": out, "grad": grad, "Z": Z, "mask": key_mask}
    given |= {"inverse_rho": inverse_rho, "cos_theta": cos_theta, "middle": middle}
    grad_q, grad_k, grad_v = _laid_out(q), None if k is None else _laid_out(k), _laid_out(v)
    grad_rho, grad_cos = inverse_rho.new_empty(inverse_rho.shape), cos_theta.new_empty(cos_theta.shape)
    given |= {"grad_q": grad_q, "grad_k": grad_q if grad_k is None else grad_k, "grad_v": grad_v}
    given |= {"grad_rho": grad_rho, "grad_cos": grad_cos}
    _call("gradients", _Operands, given, **_sizes(q, k, v, causal), cap=math.inf if cap is None else cap)
    return grad_q, grad_k, grad_v, grad_rho, grad_cos


def order_parameter(phi: Tensor, real: Tensor, causal: bool, tiny: float) -> Tensor:
    """r (B, H, N or 1), not yet held above 0, of phases (B, H, N, d) and of which tokens count, (B, N)."""
    r = phi.new_zeros(*phi.shape[:2], phi.shape[2] if causal else 1)
    _call("order", _Phases, {"phi": phi, "real": real, "r": r}, **_extent(phi, causal), tiny=tiny)
    return r


def gradient_of_order_parameter(grad: Tensor, phi: Tensor, real: Tensor, causal: bool, tiny: float) -> Tensor:
    """That of phi, from that of r."""
    found = _laid_out(phi)
    given = {"phi": phi, "real": real, "grad": grad, "grad_phi": found}
    _call("order_gradient", _Phases, given, **_extent(phi, causal), tiny=tiny)
    return found


def _sizes(q: Tensor, k: Tensor | None, v: Tensor, causal: bool) -> dict[str, int]:
    sizes = dict(zip(("batch", "heads", "queries", "frequencies"), q.shape, strict=True))
    return sizes | {"keys": v.shape[2], "values": v.shape[3], "causal": causal, "same": k is None}


def _extent(phi: Tensor, causal: bool) -> dict[str, int]:
    return dict(zip(("batch", "heads", "tokens", "width"), phi.shape, strict=True)) | {"causal": causal}


def _call(name: str, structure: type[ctypes.Structure], tensors: Mapping[str, Tensor | None], **others: float) -> None:
    """A function of the library, with the struct that it takes. Heads are shared out among threads."""
    library, threads = native.library(), max(1, min(torch.get_num_threads(), int(others["batch"] * others["heads"])))
    views = {field[0] for field in structure._fields_ if field[1] is _View}
    kept, fields = [], {}
    for field, x in tensors.items():
        if x is None:
            continue
        assert x.device.type == "cpu" and x.dtype == (torch.bool if field == "mask" else torch.float32), field
        dense = x.stride(-1) == 1 if field in views else x.is_contiguous()
        assert dense or field not in WRITTEN, field
        x = x if dense else x.contiguous()
        kept.append(x)
        fields[field] = _View(x.data_ptr(), *x.stride()[:3]) if field in views else x.data_ptr()
    operands = structure(**fields, **others, threads=threads)
    measure = getattr(library, f"{name}_scratch")
    measure.restype = ctypes.c_int64
    scratch = torch.empty(threads * measure(ctypes.byref(operands)), dtype=torch.float32, device="cpu")
    operands.scratch = scratch.data_ptr()
    getattr(library, name)(ctypes.byref(operands))


def _laid_out(x: Tensor) -> Tensor:
    """An empty tensor as x lies, with a dense last dimension."""
    return torch.empty_like(x) if x.stride(-1) == 1 else torch.empty_like(x, memory_format=torch.contiguous_format)


def _check() -> None:
    """RuntimeError, or what building raises, unless a small case is as the plain operations have it."""
    from ssa import order  # both need this module
    from ssa.dense import synchronize_dense

    g = torch.Generator().manual_seed(0)

    def random(*shape: int, size: float = 1.0) -> Tensor:
        return (size * torch.randn(shape, generator=g, dtype=torch.float32)).requires_grad_()

    q, k = random(1, 2, 70, 5, size=0.2), random(1, 2, 70, 5, size=0.2)
    v, weights, phi = random(1, 2, 70, 3), random(1, 2, 70, 3).detach(), random(1, 2, 70, 5, size=3.0)
    inverse_rho = (0.2 + torch.rand(1, 2, 70, generator=g, dtype=torch.float32)).requires_grad_()
    cos_theta = torch.tensor([[0.1, 0.5]], dtype=torch.float32, requires_grad=True)
    ones = torch.ones(1, 70, dtype=torch.float32)
    inputs = (q, k, v, inverse_rho, cos_theta, phi)
    expected = synchronize_dense(*(x[0] for x in inputs[:5]), causal=True, floor=0.1)
    r = order.plain(phi, ones[:, None, :, None], True)
    theirs = expected, r, *torch.autograd.grad((expected * weights[0]).sum() + r.square().sum(), inputs)
    with torch.no_grad():
        out, Z = attend(q, k, v, inverse_rho, cos_theta, None, True, 0.1)
        middle = torch.zeros(1, 2, 1, 5, dtype=torch.float32)
        found = gradients_of_attend(weights, q, k, v, inverse_rho, cos_theta, out, Z, None, True, 5.0, middle)
        ours = order_parameter(phi, ones, True, order.TINY)
        of_phi = gradient_of_order_parameter(2 * ours, phi, ones, True, order.TINY)
    for a, b in zip((out[0], ours, *found, of_phi), theirs, strict=True):
        if a is None or not torch.allclose(a, b, atol=1e-4, rtol=1e-4):
            raise RuntimeError("what it computes is not what it should be")
