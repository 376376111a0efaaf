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
