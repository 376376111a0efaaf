"""Coupling to the nearest tokens with fixed weights: a chain of oscillators, each coupled to those before it (ours).

    dtheta_t = sum_{tau=1}^{L} sum_m Im( kappa_{m,tau} e^{i m (theta_{t-tau} - theta_t)} )

Where it is not causal, tau = -1, .., -L too, each with a kernel of its own: the chain has both its neighbours. A token
that is not there, or is padding, gives nothing. Distances are of one sequence, so there is no form for a memory.

Attention without W_V and W_O blurs the recent past into one mean. Here each distance tau has a kernel of its own, so
x_{t-1}, x_{t-2}, ... stay apart in superposition, which a linear map of the features can undo. Softmax heads that start
sharply at these distances are this convolution at a higher price (EXPERIMENTS.md).

Legend: B batch, N tokens, d phases, M harmonics, L reach in tokens, kappa (L or 2L, M, d) complex kernel, W = M d.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.types import Device

from fsn.kernel import KINDS
from fsn.padding import phases_without, without
from fsn.phases import Features, features, harmonics
from synchrony_blocks import checks
from synchrony_blocks.cache import check_empty
from synchrony_blocks.configured import Configured
from synchrony_blocks.transforms import differentiated_again, follows_operations, plain_gradients


class LocalCoupling(Configured):
    """Phases theta (B, N, n_phases) in rad -> increments dtheta of the same shape.

    `causal`: tokens 1, .., `reach` back are coupled to, else as many ahead too.
    The kernel at distance tau starts with the strength `coupling` / tau, so that two states are the more alike the
    longer the stretch of text before them that they share, and with a random sign for each distance, harmonic and
    phase, by which the distances are distinguished; no frustration at first. With `kernel="first"` the higher harmonics
    start at zero; the other kinds of `fsn.kernel` start alike here.
    Raises ValueError for a number of phases, a reach or a number of harmonics less than 1, or an unknown kernel,
    TypeError for what is no whole number or no switch.
    """

    def __init__(
        self,
        n_phases: int,
        reach: int,
        harmonics: int = 2,
        *,
        coupling: float = 0.75,
        kernel: str = "shared",
        causal: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if kernel not in KINDS:
            raise ValueError(f"kernel={kernel!r} is not one of {', '.join(KINDS)}")
        for name, value in (("n_phases", n_phases), ("reach", reach), ("harmonics", harmonics)):
            checks.whole(name, value, 1)
        checks.switch("causal", causal)
        checks.number("coupling", coupling, math.isfinite, "is not finite")
        self.n_phases, self.reach, self.harmonics, self.causal = n_phases, reach, harmonics, causal
        # On the CPU, wherever the weights are: on the meta device this alone would load the compiler.
        distances = torch.arange(1, reach + 1, device="cpu").repeat(1 if causal else 2)  # back, then ahead
        signs = torch.randint(0, 2, (len(distances), harmonics, n_phases), device="cpu") * 2.0 - 1.0
        start = coupling * signs / distances.view(-1, 1, 1)
        if kernel == "first":
            start[:, 1:] = 0.0
        self.kernel_real = nn.Parameter(start.to(torch.get_default_device()))
        self.kernel_imag = nn.Parameter(torch.zeros(start.shape))

    def undecayed(self) -> list[Tensor]:
        """Parameters that weight decay must leave alone."""
        return self.kernels()

    def kernels(self) -> list[Tensor]:
        """The coupling kernels, which may take a rate of their own."""
        return [self.kernel_real, self.kernel_imag]

    def forward(self, theta: Tensor, *, padding_mask: Tensor | None = None) -> Tensor:
        """theta (B, N, d) in rad -> dtheta (B, N, d) in rad.

        `padding_mask` (B, N) bool, True for a real token (see `fsn.padding`): padding gives nothing and gets zeros.
        Raises ValueError for shapes that do not fit and for phases of whole numbers, TypeError for what is no tensor.
        """
        checks.sequences("theta", theta, None, padding_mask, self.n_phases)
        theta, _ = phases_without(theta, None, padding_mask)
        return self.couple(features(theta), padding_mask)

    def couple(self, state: Features, padding_mask: Tensor | None = None) -> Tensor:
        """dtheta (B, N, d) from the features of theta."""
        cos, sin = _powers(without(state, padding_mask), self.harmonics)
        fast = sum_over_windows if cos.is_cuda else _SumOverDistances.apply
        # A compiler for CUDA fuses the shifts into a kernel or two, and none of the operations on complex windows.
        fused = cos.is_cuda and torch.compiler.is_compiling()
        summed = sum_over_shifts if fused or follows_operations() else fast
        a, b = (kernel.flatten(1) for kernel in self.kernels())
        if self.causal:
            real, imag = summed(cos, sin, a, b)
        else:  # ahead is back in the sequence read from its end
            real, imag = summed(cos, sin, a[: self.reach], b[: self.reach])
            ahead = summed(cos.flip(1), sin.flip(1), a[self.reach :], b[self.reach :])
            real, imag = real + ahead[0].flip(1), imag + ahead[1].flip(1)
        return _read(real, imag, cos, sin, self.harmonics)

    def diagnostics(self, state: Features) -> dict[str, Tensor]:
        """Those of `SynchronizationAttention` for a layer without heads."""
        batch, length, _ = state.cos.shape
        none = state.cos.new_empty(batch, 0, length)
        maps = state.cos.new_empty(batch, 0, length, length)
        return {"attention": maps, "null": none, "order_parameter": none, "gate": none}

    def init_cache(self, batch_size: int) -> dict[str, Any]:
        """The harmonics of the last `reach` tokens: none."""
        none = self.kernel_real.new_empty(batch_size, 0, self.harmonics * self.kernel_real.shape[2])
        return {"cos": none, "sin": none}

    def prefill(self, state: Tensor | Features, cache: dict[str, Any]) -> Tensor:
        """The first tokens at once: theta (B, N, d) in rad, or its features -> dtheta (B, N, d); the cache of none yet
        is filled. ValueError for a layer that is not causal.
        """
        checks.decodes(self.causal)
        check_empty(cache["cos"].shape[1])
        state = features(state)
        checks.same_batch("the prompt", state.cos, cache["cos"])
        last = Features(*(x[:, -self.reach :] for x in state))
        cache["cos"], cache["sin"] = _powers(last, self.harmonics)
        return self.couple(state)

    def step(self, state: Tensor | Features, cache: dict[str, Any]) -> Tensor:
        """One token: theta (B, d) in rad, or its features -> dtheta (B, d); it joins the cache.

        ValueError for a layer that is not causal.
        """
        checks.decodes(self.causal)
        cos, sin = _powers(features(state), self.harmonics)
        c, s = cache["cos"].flip(1), cache["sin"].flip(1)  # the last token first
        a, b = (kernel.flatten(1)[: c.shape[1]] for kernel in self.kernels())
        increment = _read((a * c - b * s).sum(1), (a * s + b * c).sum(1), cos, sin, self.harmonics)
        for name, new in (("cos", cos), ("sin", sin)):
            cache[name] = torch.cat((cache[name], new[:, None]), dim=1)[:, -self.reach :]
        return increment


def _powers(state: Features, n: int) -> tuple[Tensor, Tensor]:
    """Real and imaginary parts of e^{i m theta}, m = 1..n, side by side: each (..., M d)."""
    powers = harmonics(state, n)
    return torch.cat([power.cos for power in powers], dim=-1), torch.cat([power.sin for power in powers], dim=-1)


def _read(real: Tensor, imag: Tensor, cos: Tensor, sin: Tensor, n: int) -> Tensor:
    """sum_m Im( Z_m e^{-i m theta} ), (..., d), from Z and e^{i m theta}, real and imaginary (..., M d)."""
    return (imag * cos - real * sin).unflatten(-1, (n, -1)).sum(-2)


def sum_over_windows(cos: Tensor, sin: Tensor, real: Tensor, imag: Tensor) -> tuple[Tensor, Tensor]:
    """What `_SumOverDistances` gives, in a dozen operations on windows of L tokens (B, N, W, L).

    For a device whose time goes into starting operations.
    """
    reach = real.shape[0]
    tokens = F.pad(torch.complex(cos, sin), (0, 0, reach, 0)).unfold(1, reach, 1)[:, :-1]  # the farthest first
    summed = (tokens * torch.complex(real, imag).flip(0).T).sum(-1)
    return summed.real, summed.imag


def sum_over_shifts(cos: Tensor, sin: Tensor, real: Tensor, imag: Tensor) -> tuple[Tensor, Tensor]:
    """What `_SumOverDistances` gives, in plain PyTorch, for any number of tokens."""
    x, y = torch.zeros_like(cos), torch.zeros_like(sin)
    for tau, (a, b) in enumerate(zip(real, imag, strict=True), start=1):
        c, s = (F.pad(z, (0, 0, tau, 0))[:, : z.shape[1]] for z in (cos, sin))
        x, y = x + a * c - b * s, y + a * s + b * c
    return x, y


class _SumOverDistances(torch.autograd.Function):
    """Z_t = sum_tau kappa_tau z_{t-tau} for z (B, N, W) and kappa (L, W), complex as pairs of reals.

    A depthwise convolution of complex numbers, written out because PyTorch's is slower on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, cos: Tensor, sin: Tensor, real: Tensor, imag: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(cos, sin, real, imag)
        out_real, out_imag = torch.zeros_like(cos), torch.zeros_like(sin)
        for tau, a, b in _distances(cos, real, imag):
            c, s, x, y = cos[:, :-tau], sin[:, :-tau], out_real[:, tau:], out_imag[:, tau:]
            x.addcmul_(c, a).addcmul_(s, b, value=-1)
            y.addcmul_(s, a).addcmul_(c, b)
        return out_real, out_imag

    @staticmethod
    def backward(ctx: Any, grad_x: Tensor, grad_y: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        cos, sin, real, imag = ctx.saved_tensors
        if differentiated_again():
            return tuple(plain_gradients(sum_over_shifts, ctx.saved_tensors, (grad_x, grad_y)))
        grad_cos, grad_sin, grad_real, grad_imag = (torch.zeros_like(x) for x in (cos, sin, real, imag))
        for tau, a, b in _distances(cos, real, imag):
            c, s, x, y = cos[:, :-tau], sin[:, :-tau], grad_x[:, tau:], grad_y[:, tau:]
            grad_cos[:, :-tau].addcmul_(x, a).addcmul_(y, b)
            grad_sin[:, :-tau].addcmul_(y, a).addcmul_(x, b, value=-1)
            grad_real[tau - 1] = (x * c).addcmul_(y, s).sum((0, 1))
            grad_imag[tau - 1] = (y * c).addcmul_(x, s, value=-1).sum((0, 1))
        return grad_cos, grad_sin, grad_real, grad_imag


def _distances(tokens: Tensor, real: Tensor, imag: Tensor) -> list[tuple[int, Tensor, Tensor]]:
    """tau and its kernel for every distance that tokens (B, N, W) have."""
    return list(zip(range(1, tokens.shape[1]), real, imag, strict=False))
