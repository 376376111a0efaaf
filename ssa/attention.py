"""Selective Synchronization Attention as a layer: bidirectional, causal or cross, with one-token decoding.

Source: arXiv 2602.14445. Ours: the causal form with its prefix order parameter, the positional part of the frequencies,
the learned threshold, and a start at which a chosen share of pairs is locked.

    omega_i = [W_omega x_i, a_f cos(nu_f i), a_f sin(nu_f i)]      phi_j = W_phi x_j      v_j = W_v x_j
    out_i   = W_o [ sum_j S_ij v_j / sum_j S_ij ]                  S from omega, r(phi), alpha, K, theta

Legend: B batch, N tokens, M tokens that are attended to, H heads, D = d_model, d = D / H, F positional drifts nu (rad
per token), a their amplitudes, alpha coupling bandwidth, K coupling strength, theta locking threshold (rad).
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blocks.rotary import Rotary
from ssa import checks, decoding, synchrony
from ssa.backends import operate
from ssa.calibration import calibrate, set_coupling
from ssa.inspection import diagnostics

PHASE_SPREAD = 0.5  # rad; phases start this close together, so r starts near 0.9 (our choice)


class SelectiveSynchronizationAttention(nn.Module):
    """x (B, N, D) -> (B, N, D).

    `causal`: token i attends to tokens j <= i, and its order parameter is that of its prefix. `theta` is the locking
    threshold at the start, learned unless `learn_theta` is false; pi/2 is the published operator. `position`: the
    frequencies have a positional part, the only positional encoding there is. `lag`: queries of head h stand h lags
    (tokens, learned from there) further back than they are, so that a head may look for what came before.
    `position_share`: of the square of the first and the last head's frequencies at the start, those between in equal
    steps; a single head takes their mean. `delayed_heads`: so many heads' keys have the content of the token before, so
    that a query finds what followed tokens like it.
    `query_frequency`: "shared" as published, or "separate", a map of its own for queries that starts equal.
    `frequency_width`: of the content part of a head's frequencies, by default d. `locked_fraction`: share of random
    pairs that lock at the start in every head (`ssa.calibration`), unless `start` is "published": PyTorch's own weights
    and alpha = K = 1. It holds for tokens of mean square 1, as a norm leaves them, and sequences of
    `calibration_length` tokens: positions drift apart, so in longer ones fewer pairs lock. `alpha`, `K`: start with
    these instead. `order` "sequence" takes the order parameter of a causal layer over all tokens, as published,
    which leaks the future. `top_k` keeps the strongest partners of each token. `cap` bounds the slope at the locking
    boundary; `floor` is added to the sum of strengths where a token need not lock to itself, so that a partner fades
    out of the mix instead of leaving it at once (`ssa.chunked`, our choice). `backend`: auto, chunked, flex or dense
    (`ssa.backends`). `published` sets all of this as the paper has it; the defaults are the plainest causal layer, and
    `OSN` starts its own with a lag, a delayed head and larger shares, which trained far better (EXPERIMENTS.md).
    Gradients are of first order: to differentiate them again, and transforms of torch.func, raise RuntimeError.
    The weight of `omega` is used without calling the module: what wraps or hooks a Linear does not see it.
    Raises ValueError for an impossible count, threshold, share, alpha, K, top_k, cap, floor or name, TypeError for one
    that is no number or no whole one.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        causal: bool = True,
        *,
        theta: float = 1.2,
        learn_theta: bool = True,
        position: bool = True,
        n_drifts: int = 8,
        drift_base: float = 1000.0,
        position_share: Sequence[float] = (0.1, 0.6),
        lag: float = 0.0,
        delayed_heads: int = 0,
        query_frequency: str = "shared",
        frequency_width: int | None = None,
        locked_fraction: float = 0.3,
        calibration_length: int = 256,
        alpha: float | None = None,
        K: float | None = None,
        start: str = "calibrated",
        order: str = "prefix",
        top_k: int | None = None,
        cap: float | None = 5.0,
        floor: float = 0.1,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        checks.settings(
            d_model=d_model,
            n_heads=n_heads,
            theta=theta,
            n_drifts=n_drifts,
            drift_base=drift_base,
            position_share=position_share,
            lag=lag,
            delayed_heads=delayed_heads,
            frequency_width=frequency_width,
            locked_fraction=locked_fraction,
            calibration_length=calibration_length,
            alpha=alpha,
            K=K,
            top_k=top_k,
            cap=cap,
            floor=floor,
            switches={"causal": causal, "position": position, "learn_theta": learn_theta},
            names={"query_frequency": query_frequency, "start": start, "order": order, "backend": backend},
        )
        self.d_model, self.n_heads, self.causal, self.cap, self.top_k = d_model, n_heads, causal, cap, top_k
        self.backend = backend
        self.prefix = causal and order == "prefix"
        self.locked_fraction = locked_fraction
        self.content_width = frequency_width or d_model // n_heads
        frequencies = n_heads * self.content_width
        self.omega = nn.Linear(d_model, frequencies, bias=False)  # no bias: a common shift changes nothing
        self.query_omega = nn.Linear(d_model, frequencies, bias=False) if query_frequency == "separate" else None
        self.phi = nn.Linear(d_model, d_model, bias=False)
        self.value = nn.Linear(d_model, d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)
        if start == "calibrated":
            for linear, spread in ((self.omega, 1.0), (self.phi, PHASE_SPREAD), (self.value, 1.0), (self.out, 1.0)):
                nn.init.normal_(linear.weight, std=spread * d_model**-0.5)
        if self.query_omega is not None:
            self.query_omega.weight.data.copy_(self.omega.weight.data)
        self.rotary = Rotary(n_drifts, drift_base) if position else None
        if position:
            # The content part has a mean square of its width, the positional part of F a^2.
            first, last = position_share
            share = torch.linspace(first, last, n_heads) if n_heads > 1 else torch.tensor([(first + last) / 2])
            amplitude = (share / (1 - share) * self.content_width / n_drifts).sqrt()
            self.amplitude = nn.Parameter(amplitude[:, None].repeat(1, n_drifts))  # a, (H, F)
        self.delayed_heads, self.floor = delayed_heads, floor
        self.lag = nn.Parameter(lag * torch.arange(n_heads, dtype=torch.float32)) if lag else None  # (H,), tokens
        self.log_alpha = nn.Parameter(torch.zeros(n_heads))
        self.log_K = nn.Parameter(torch.zeros(n_heads))
        # theta = pi/2 sigmoid(threshold)
        threshold = torch.full((n_heads,), math.log(theta / (math.pi / 2 - theta)) if theta < math.pi / 2 else math.inf)
        if learn_theta:
            self.threshold = nn.Parameter(threshold)
        else:
            self.register_buffer("threshold", threshold)
        self.start, self.start_alpha, self.start_K = start, alpha, K
        if start == "calibrated" and not self.omega.weight.is_meta:
            generator = torch.Generator().manual_seed(0)
            sample = torch.randn(1, calibration_length, d_model, generator=generator, dtype=torch.float32, device="cpu")
            calibrate(self, sample.to(self.omega.weight))
        else:
            set_coupling(self)

    @property
    def shared(self) -> bool:
        """Whether a token has one frequency, as query and as key: it is then always locked to itself."""
        return self.query_omega is None and self.lag is None and not self.delayed_heads

    @property
    def alpha(self) -> Tensor:
        """(H,) coupling bandwidth."""
        return self.log_alpha.exp()

    @property
    def K(self) -> Tensor:
        """(H,) coupling strength."""
        return self.log_K.exp()

    @property
    def theta(self) -> Tensor:
        """(H,) locking threshold in rad, in (0, pi/2]."""
        return math.pi / 2 * self.threshold.sigmoid()

    @property
    def cos_theta(self) -> Tensor:
        """(H,) cos(theta), never below 0: pi/2 in float32 is a little more than pi/2, and would lock every pair."""
        return self.theta.cos().clamp_min(0)

    def undecayed(self) -> list[Tensor]:
        """Parameters that weight decay must leave alone: zero is no special place for them."""
        return self.kernels() + ([self.amplitude] if self.rotary else []) + ([] if self.lag is None else [self.lag])

    def kernels(self) -> list[Tensor]:
        """What shapes the coupling of a head, alpha, K and theta, which may take a rate of its own."""
        threshold = [self.threshold] if isinstance(self.threshold, nn.Parameter) else []
        return [self.log_alpha, self.log_K, *threshold]

    def forward(
        self,
        x: Tensor,
        *,
        memory: Tensor | None = None,
        padding_mask: Tensor | None = None,
        offset: int = 0,
        return_diagnostics: bool = False,
    ) -> Any:
        """x (B, N, D) -> (B, N, D); with `return_diagnostics` also a dict, see `ssa.inspection`.

        `memory` (B, M, D): what is attended to instead of x (cross-attention, never causal). `padding_mask` (B, M)
        bool, True for a real token of what is attended to: padding neither locks nor counts for r. A padded row of x
        itself gets zeros, as does a row that finds nothing to lock to. `offset`: where the first token of x stands
        beside a memory, which starts at 0, so that one can decode token by token. Raises ValueError for shapes that do
        not fit, TypeError for what is no tensor.
        """
        checks.shapes(x, memory, padding_mask, self.d_model, self.top_k)
        if offset and memory is None:
            raise ValueError(f"offset={offset} is for cross-attention: give memory too, or decode with step()")
        if padding_mask is not None:  # what padding holds, be it nan, must not reach the sums
            padding = ~padding_mask[:, :, None]
            memory = None if memory is None else memory.masked_fill(padding, 0)
            x = x.masked_fill(padding, 0) if memory is None else x
        source = x if memory is None else memory
        causal = self.causal and memory is None
        q, k = self._query_key(x, memory, self.alpha.sqrt(), offset)
        v = self.split(self.value(source))
        r = self.order_parameter(source, memory is None, padding_mask)
        mixed = self._synchronize(q, k, v, r, causal, padding_mask)
        if padding_mask is not None and memory is None:
            mixed = mixed * padding_mask[:, None, :, None]
        y = self.out(mixed.transpose(1, 2).flatten(2))
        return (y, diagnostics(self, x, memory, padding_mask, offset)) if return_diagnostics else y

    def frequencies(self, x: Tensor, query: bool = False, offset: int = 0) -> Tensor:
        """omega (B, H, N, d + 2F) of x (B, N, D), as queries, the first of which stands at `offset`, or as keys."""
        q, k = self._query_key(x, offset=offset)
        return q if query or k is None else k

    def _query_key(
        self, x: Tensor, memory: Tensor | None = None, scale: Tensor | None = None, offset: int = 0
    ) -> tuple[Tensor, Tensor | None]:
        """omega of x as queries, and of x or `memory` as keys, None where they are the same; times `scale` (H,).

        The scale goes to the weights, which are few: a product with every frequency would be kept for its gradient.
        """
        key = self.content(x if memory is None else memory, self.omega, scale)
        own = self.omega if self.query_omega is None else self.query_omega
        query = key if memory is None and own is self.omega else self.content(x, own, scale)
        q = self.placed(query, offset, scale, query=True)
        if memory is None and self.shared:
            return q, None
        before = F.pad(key[:, : self.delayed_heads, :-1], (0, 0, 1, 0))  # the first token has none before it: zeros
        return q, self.placed(self.delayed(key, before), 0, scale)

    def content(self, x: Tensor, linear: nn.Linear, scale: Tensor | None) -> Tensor:
        """The content part of the frequencies, (B, H, N, d)."""
        factor = 1 if scale is None else scale.repeat_interleave(self.content_width)[:, None]
        return self.split(F.linear(x, linear.weight * factor))

    def delayed(self, content: Tensor, before: Tensor) -> Tensor:
        """`content` (B, H, N, d) as keys have it: delayed heads that of the tokens before, (B, delayed heads, N, d)."""
        return torch.cat((before, content[:, self.delayed_heads :]), dim=1) if self.delayed_heads else content

    def placed(self, content: Tensor, start: int, scale: Tensor | None, query: bool = False) -> Tensor:
        """`content` (B, H, N, d) with the positional part, (B, H, N, d + 2F); its first token stands at `start`."""
        if self.rotary is None:
            return content
        cos, sin = self.rotary.phase(start, start + content.shape[2], content.dtype)  # each (N, F)
        if query and self.lag is not None:  # cos and sin of nu (t - lag), each (H, N, F)
            back = self.lag[:, None, None] * self.rotary.drift.to(self.lag.dtype)
            cos, sin = cos * back.cos() + sin * back.sin(), sin * back.cos() - cos * back.sin()
        a = (self.amplitude if scale is None else self.amplitude * scale[:, None])[:, None, :]
        position = torch.cat((a * cos, a * sin), dim=-1).to(content.dtype)  # (H, N, 2F)
        return torch.cat((content, position.expand(len(content), -1, -1, -1)), dim=-1)

    def diagnostics(self, x: Tensor) -> dict[str, Tensor]:
        """What the layer does with x (B, N, D): see `ssa.inspection.diagnostics`."""
        return diagnostics(self, x)

    def order_parameter(self, x: Tensor, is_self: bool = True, padding_mask: Tensor | None = None) -> Tensor:
        """r of x (B, N, D): (B, H, N), of each prefix, or (B, H, 1), of all where the layer or `is_self` says so."""
        return synchrony.order_parameter(self.split(self.phi(x)), self.prefix and is_self, padding_mask)

    def _synchronize(
        self, q: Tensor, k: Tensor | None, v: Tensor, r: Tensor, causal: bool, padding_mask: Tensor | None
    ) -> Tensor:
        """Mixed values (B, H, N, d)."""
        batch, heads, length = q.shape[:3]
        inverse_rho = synchrony.inverse_rho(self.alpha, self.K, r).expand(batch, heads, length)
        key_mask = None if padding_mask is None else padding_mask.repeat_interleave(heads, dim=0)
        out = operate(
            self.backend,
            q.flatten(0, 1),
            None if k is None else k.flatten(0, 1),
            v.flatten(0, 1),
            inverse_rho.flatten(0, 1),
            self.cos_theta.repeat(batch),
            causal=causal,
            key_mask=key_mask,
            cap=self.cap,
            top_k=self.top_k,
            floor=0.0 if k is None else self.floor,
        )
        return out.unflatten(0, (batch, heads))

    def init_cache(self, batch_size: int) -> dict[str, Any]:
        """What one-token decoding keeps of the tokens seen so far, of none: see `ssa.decoding`."""
        return decoding.init_cache(self, batch_size)

    def step(self, x: Tensor, cache: dict[str, Any]) -> Tensor:
        """One token of a causal layer: x (B, D) -> (B, D); it joins the cache. ValueError for a layer that is not."""
        return decoding.step(self, x, cache)

    def split(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, H, N, d)."""
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
