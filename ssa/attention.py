"""Selective Synchronization Attention as a layer: bidirectional, causal or cross, with one-token decoding.

Source: arXiv 2602.14445. Ours: the causal form with its prefix order parameter and its decoding, the positional part of
the frequencies, the learned threshold, and a start at which a chosen share of pairs is locked (ssa/start.py).

    omega_i = [W_omega x_i, a_f cos(nu_f i), a_f sin(nu_f i)]      phi_j = W_phi x_j      v_j = W_v x_j
    out_i   = W_o [ sum_j S_ij v_j / sum_j S_ij ]                  S from omega, r(phi), alpha, K, theta

Legend: B batch, N tokens, M tokens that are attended to, H heads, D = d_model, d = D / H, F positional drifts nu (rad
per token), a their amplitudes, alpha coupling bandwidth, K coupling strength, theta locking threshold (rad).
"""

import math
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.types import Device

from ssa import checks, inspection, synchrony
from ssa.backends import BACKENDS, operate
from ssa.order import order_parameter
from ssa.start import Positions, Start, calibrated
from synchrony_blocks.cache import MemoryCache, TokenBuffer, check_own
from synchrony_blocks.checks import decodes
from synchrony_blocks.configured import Configured
from synchrony_blocks.rotary import Rotary

PLAIN, START = Positions(), Start()  # what the plainest causal layer has


class SelectiveSynchronizationAttention(Configured):
    """x (B, N, D) -> (B, N, D).

    `causal`: token i attends to tokens j <= i, and its order parameter is that of its prefix. `positions`: the
    positional part of the frequencies, the only positional encoding there is; None for none. `start`: where weights,
    alpha, K and theta begin. `learn_theta`: whether the locking threshold is learned from there. `delayed_heads`: so
    many heads' keys have the content of the token before (smeared keys, Olsson et al. 2022), so that a query finds what
    followed tokens like it.
    `query_frequency`: "shared" as published, or "separate", a map of its own for queries that starts equal.
    `frequency_width`: of the content part of a head's frequencies, by default d. `top_k` keeps the strongest partners
    of each token, all where there are fewer. `cap` bounds the slope at the locking boundary; `floor` is added to the
    sum of strengths where a token need not lock to itself, so that a partner fades out of the mix instead of leaving it
    at once (`ssa.chunked`, our choice). `backend`: auto, chunked, triton, flex or dense (`ssa.backends`).
    `ssa.published` sets all of this as the paper has it; the defaults are the plainest causal layer, and `OSN` starts
    its own with a lag, a delayed head and larger shares, which trained far better (EXPERIMENTS.md).
    Gradients of gradients, transforms of torch.func and torch.export take a form that holds all pairs of tokens.
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
        positions: Positions | None = PLAIN,
        start: Start = START,
        learn_theta: bool = True,
        delayed_heads: int = 0,
        query_frequency: str = "shared",
        frequency_width: int | None = None,
        top_k: int | None = None,
        cap: float | None = 5.0,
        floor: float = 0.1,
        backend: str = "auto",
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        checks.whole("d_model", d_model, 1)
        checks.whole("n_heads", n_heads, 1)
        if d_model % n_heads:
            raise ValueError(f"width {d_model} does not split into {n_heads} heads")
        checks.switch("causal", causal)
        checks.switch("learn_theta", learn_theta)
        if learn_theta and start.theta == math.pi / 2:
            raise ValueError("theta=pi/2 is the largest threshold and cannot be learned from there; lower it a little")
        heads_there_are = f"is not between 0 and n_heads={n_heads}"
        checks.whole("delayed_heads", delayed_heads, 0, n_heads, heads_there_are)
        checks.word("query_frequency", query_frequency, ("shared", "separate"))
        checks.whole("frequency_width", frequency_width, 1, optional=True)
        checks.whole("top_k", top_k, 1, optional=True)
        checks.number("cap", cap, lambda x: x > 0, "is not positive; None takes the exact gradient", optional=True)
        checks.number("floor", floor, lambda x: 0 <= x < math.inf, "is not a number from 0 on")
        checks.word("backend", backend, BACKENDS)
        self.d_model, self.n_heads, self.causal, self.start = d_model, n_heads, causal, start
        self.delayed_heads, self.top_k, self.cap, self.floor = delayed_heads, top_k, cap, floor
        self.backend = backend
        self.content_width = frequency_width or d_model // n_heads
        frequencies = n_heads * self.content_width
        self.omega = nn.Linear(d_model, frequencies, bias=False)  # no bias: a common shift changes nothing
        self.query_omega = nn.Linear(d_model, frequencies, bias=False) if query_frequency == "separate" else None
        self.phi = nn.Linear(d_model, d_model, bias=False)
        self.value = nn.Linear(d_model, d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)
        start.draw(self.omega, self.phi, self.value, self.out)
        if self.query_omega is not None:
            self.query_omega.weight.data.copy_(self.omega.weight.data)
        self.rotary = self.lag = None
        device = self.omega.weight.device
        if positions is not None:
            self.rotary = Rotary(positions.drifts, positions.drift_base)
            self.amplitude = nn.Parameter(positions.amplitudes(n_heads, self.content_width).to(device))  # a, (H, F)
            if positions.lag:
                self.lag = nn.Parameter(positions.lags(n_heads).to(device))  # (H,), tokens
        self.log_alpha = nn.Parameter(torch.zeros(n_heads))
        self.log_K = nn.Parameter(torch.zeros(n_heads))
        if learn_theta:
            self.threshold = nn.Parameter(start.threshold(n_heads))
        else:
            self.register_buffer("threshold", start.threshold(n_heads))
        self.calibrate(start.tokens(d_model).to(self.omega.weight))

    @torch.no_grad()
    def calibrate(self, x: Tensor, memory: Tensor | None = None) -> None:
        """Set alpha and K as the start has them: numbers, or from the pairs of tokens x (B, N, D), or of each with all
        of a memory (B, M, D). On the meta device there are no numbers to set.
        """
        if self.log_alpha.is_meta:
            return
        alpha = K = torch.ones_like(self.log_alpha)
        if self.start.calibrated:
            source = x if memory is None else memory
            Delta2 = synchrony.mismatch(self.frequencies(x, query=True), self.frequencies(source))
            r = self.order_parameter(source, memory is None)
            pairs = torch.ones(Delta2.shape[2:], dtype=torch.bool, device=x.device)
            if memory is None:  # a token with itself is no pair
                pairs = (
                    pairs.tril(-1) if self.causal else pairs ^ torch.eye(len(pairs), dtype=torch.bool, device=x.device)
                )
            alpha, K = calibrated(Delta2, r, self.theta, self.start.locked_fraction, pairs)
        for parameter, found, asked in (
            (self.log_alpha, alpha, self.start.alpha),
            (self.log_K, K, self.start.K),
        ):
            parameter.copy_(found.log() if asked is None else torch.full_like(found, math.log(asked)))

    @property
    def shared(self) -> bool:
        """Whether a token has one frequency, as query and as key: it is then always locked to itself."""
        return self.query_omega is None and self.lag is None and not self.delayed_heads

    @property
    def widest(self) -> int:
        """The width of a head's frequencies or of its values, the larger."""
        return max(self._omega_width, self.d_model // self.n_heads)

    @property
    def _omega_width(self) -> int:
        return self.content_width + (2 * self.amplitude.shape[1] if self.rotary else 0)

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

    @overload
    def forward(
        self,
        x: Tensor,
        *,
        memory: Tensor | None = None,
        padding_mask: Tensor | None = None,
        offset: int = 0,
        return_diagnostics: Literal[False] = False,
    ) -> Tensor: ...

    @overload
    def forward(
        self,
        x: Tensor,
        *,
        memory: Tensor | None = None,
        padding_mask: Tensor | None = None,
        offset: int = 0,
        return_diagnostics: Literal[True],
    ) -> tuple[Tensor, dict[str, Tensor]]: ...

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
        itself gets zeros, as does a row that finds nothing to lock to. `offset`: the position of the first token of x
        beside a memory, which starts at 0, so that one can decode token by token. Raises ValueError for shapes that do
        not fit, TypeError for what is no tensor.
        """
        checks.shapes(x, memory, padding_mask, self.d_model)
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
        return (y, self.diagnostics(x, memory, padding_mask, offset)) if return_diagnostics else y

    if TYPE_CHECKING:
        __call__ = forward

    def frequencies(self, x: Tensor, query: bool = False, offset: int = 0) -> Tensor:
        """omega (B, H, N, d + 2F) of x (B, N, D), as queries, the first of which is at `offset`, or as keys."""
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
        return q, self._keys(key, scale)

    def _keys(self, content: Tensor, scale: Tensor | None) -> Tensor:
        """omega of tokens as keys, all of a sequence, from their `content` (B, H, M, d)."""
        before = F.pad(content[:, : self.delayed_heads, :-1], (0, 0, 1, 0))  # the first token has none before it: zeros
        return self.placed(self.delayed(content, before), 0, scale)

    def content(self, x: Tensor, linear: nn.Linear, scale: Tensor | None) -> Tensor:
        """The content part of the frequencies, (B, H, N, d)."""
        factor = 1 if scale is None else scale.repeat_interleave(self.content_width)[:, None]
        return self.split(F.linear(x, linear.weight * factor))

    def delayed(self, content: Tensor, before: Tensor) -> Tensor:
        """`content` (B, H, N, d) as keys have it: delayed heads that of the tokens before, (B, delayed heads, N, d)."""
        return torch.cat((before, content[:, self.delayed_heads :]), dim=1) if self.delayed_heads else content

    def placed(self, content: Tensor, start: int, scale: Tensor | None, query: bool = False) -> Tensor:
        """`content` (B, H, N, d) with the positional part, (B, H, N, d + 2F); its first token is at `start`."""
        if self.rotary is None:
            return content
        length, dtype = content.shape[2], content.dtype
        at = self.rotary.phase(start, start + length, dtype) if start else self.rotary.table(length, dtype)
        cos, sin = at  # each (N, F)
        if query and self.lag is not None:  # cos and sin of nu (t - lag), each (H, N, F)
            back = self.lag[:, None, None] * self.rotary.drift.to(self.lag.dtype)
            cos, sin = cos * back.cos() + sin * back.sin(), sin * back.cos() - cos * back.sin()
        a = (self.amplitude if scale is None else self.amplitude * scale[:, None])[:, None, :]
        position = torch.cat((a * cos, a * sin), dim=-1).to(content.dtype)  # (H, N, 2F)
        return torch.cat((content, position.expand(len(content), -1, -1, -1)), dim=-1)

    @torch.no_grad()
    def strengths(
        self, x: Tensor, memory: Tensor | None = None, padding_mask: Tensor | None = None, offset: int = 0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """S (B, H, N, M), which pairs may lock (B, 1, N, M) bool, and r (B, H, N or 1), from dense matrices.

        S is of all that locks, whatever top_k says. Arguments as for `forward`.
        """
        source = x if memory is None else memory
        scale = self.alpha.sqrt()[:, None, None]
        u = synchrony.mismatch(self.frequencies(x, True, offset) * scale, self.frequencies(source) * scale)
        if memory is None and self.shared:
            u.diagonal(0, 2, 3).zero_()
        r = self.order_parameter(source, memory is None, padding_mask)
        inverse_rho = synchrony.inverse_rho(self.alpha, self.K, r)[..., None]
        S = synchrony.strength(u, inverse_rho, self.cos_theta[:, None, None])
        allowed = torch.ones(len(x), 1, x.shape[1], source.shape[1], dtype=torch.bool, device=x.device)
        if self.causal and memory is None:
            allowed = allowed.tril()
        if padding_mask is not None:
            allowed = allowed & padding_mask[:, None, None, :]
            if memory is None:
                allowed = allowed & padding_mask[:, None, :, None]
        return S * allowed, allowed, r

    @torch.no_grad()
    def diagnostics(
        self, x: Tensor, memory: Tensor | None = None, padding_mask: Tensor | None = None, offset: int = 0
    ) -> dict[str, Tensor]:
        """What the layer does with x (B, N, D), as `ssa.inspection.report` says it. Arguments as for `forward`."""
        return inspection.report(
            *self.strengths(x, memory, padding_mask, offset),
            *(parameter.detach() for parameter in (self.alpha, self.K, self.theta)),
            is_self=memory is None,
            top_k=self.top_k,
            floor=self._floor(memory is None),
        )

    def order_parameter(self, x: Tensor, is_self: bool = True, padding_mask: Tensor | None = None) -> Tensor:
        """r of x (B, N, D): (B, H, N), of each prefix, or (B, H, 1), of all where the layer or `is_self` says so."""
        return order_parameter(self.split(self.phi(x)), self.causal and is_self, padding_mask)

    def _floor(self, is_self: bool) -> float:
        return 0.0 if is_self and self.shared else self.floor

    def _synchronize(
        self, q: Tensor, k: Tensor | None, v: Tensor, r: Tensor, causal: bool, padding_mask: Tensor | None
    ) -> Tensor:
        """Mixed values (B, H, N, d)."""
        batch, heads, length = q.shape[:3]
        inverse_rho = synchrony.inverse_rho(self.alpha, self.K, r).expand(batch, heads, length)
        return operate(
            self.backend,
            q,
            k,
            v,
            inverse_rho,
            self.cos_theta.expand(batch, heads),
            causal=causal,
            key_mask=padding_mask,
            cap=self.cap,
            top_k=self.top_k,
            floor=self._floor(k is None),
        )

    def init_cache(
        self, batch_size: int, memory: Tensor | None = None, padding_mask: Tensor | None = None
    ) -> dict[str, Any]:
        """What `step` keeps of the t tokens so far, of none: `omega` (B, H, t, d + 2F) scaled frequencies as keys, `v`
        (B, H, t, d) values, `cos` and `sin` (B, H, d) running sums of e^{i phi}, `previous` the content that the next
        token's delayed keys have.

        Of a memory (B, M, D), all of which is known: `omega` (B, H, M, d + 2F), `v`, `inverse_rho` (B, H, 1), which
        tokens are `real` (B, M) or None for all, and `t`. Raises as `forward` does.
        """
        if memory is not None:
            return self._memory_cache(batch_size, memory, padding_mask)
        if padding_mask is not None:
            raise ValueError("padding_mask is of a memory here: give memory too")
        d = self.d_model // self.n_heads
        empty = self.omega.weight.new_empty(batch_size, self.n_heads, 0, d)
        total = empty.new_zeros(batch_size, self.n_heads, d, dtype=torch.promote_types(empty.dtype, torch.float32))
        return {
            "omega": TokenBuffer(empty.new_empty(batch_size, self.n_heads, 0, self._omega_width)),
            "v": TokenBuffer(empty),
            "cos": total,
            "sin": total,
            "previous": empty.new_zeros(batch_size, self.delayed_heads, 1, self.content_width),
        }

    def _memory_cache(self, batch_size: int, memory: Tensor, padding_mask: Tensor | None) -> MemoryCache:
        checks.shapes(memory, None, padding_mask, self.d_model, "memory")
        if len(memory) != batch_size:
            raise ValueError(f"memory has a batch of {len(memory)} and the cache one of {batch_size}")
        if padding_mask is not None:
            memory = memory.masked_fill(~padding_mask[:, :, None], 0)
        scale = self.alpha.sqrt()
        r = self.order_parameter(memory, False, padding_mask)
        return MemoryCache(
            batch_size,
            omega=self._keys(self.content(memory, self.omega, scale), scale),
            v=self.split(self.value(memory)),
            inverse_rho=synchrony.inverse_rho(self.alpha, self.K, r),
            real=padding_mask,
            t=0,
        )

    def prefill(self, x: Tensor, cache: dict[str, Any]) -> Tensor:
        """The first tokens at once: x (B, N, D) -> (B, N, D), as `forward`; the cache of none yet is filled. ValueError
        for a layer that is not causal.
        """
        decodes(self.causal)
        check_own(cache)
        scale = self.alpha.sqrt()
        content = self.content(x, self.omega, scale)
        cache["omega"].fill(self._keys(content, scale))
        cache["v"].fill(self.split(self.value(x)))
        cache["previous"] = content[:, : self.delayed_heads, -1:]
        phi = self.split(self.phi(x)).to(cache["cos"].dtype)
        cache["cos"], cache["sin"] = phi.cos().sum(2), phi.sin().sum(2)
        out: Tensor = self(x)
        return out

    def step(self, x: Tensor, cache: dict[str, Any]) -> Tensor:
        """One token, in O(t d) of a causal layer and O(M d) beside a memory: x (B, D) -> (B, D).

        It joins the cache, unless that is of a memory. Raises ValueError for a layer that is not causal, where the
        cache is not of a memory, TypeError for what is no tensor.
        """
        if not isinstance(cache, MemoryCache):
            decodes(self.causal)
        checks.token(x, cache, self.d_model)
        x, scale = x[:, None], self.alpha.sqrt()
        content = self.content(x, self.omega if self.query_omega is None else self.query_omega, scale)
        if isinstance(cache, MemoryCache):
            q = self.placed(content, cache["t"], scale, query=True)
            cache["t"] += 1
            return self._mixed(q, cache["omega"], cache["v"], cache["inverse_rho"], cache["real"], is_self=False)
        t = cache["omega"].length
        key = content if self.query_omega is None else self.content(x, self.omega, scale)
        q = self.placed(content, t, scale, query=True)
        k = self.placed(self.delayed(key, cache["previous"]), t, scale)
        cache["previous"] = key[:, : self.delayed_heads]
        phi = self.split(self.phi(x))[:, :, 0].to(cache["cos"].dtype)
        cache["cos"], cache["sin"] = cache["cos"] + phi.cos(), cache["sin"] + phi.sin()
        squared = cache["cos"].square() + cache["sin"].square()
        r = squared.clamp_min(synchrony.TINY).sqrt().div(t + 1).mean(-1, keepdim=True)  # (B, H, 1)
        inverse_rho = synchrony.inverse_rho(self.alpha, self.K, r)
        k, v = cache["omega"].append(k), cache["v"].append(self.split(self.value(x)))
        return self._mixed(q, k, v, inverse_rho, None, is_self=True)

    def _mixed(
        self, q: Tensor, k: Tensor, v: Tensor, inverse_rho: Tensor, real: Tensor | None, *, is_self: bool
    ) -> Tensor:
        """What one query (B, H, 1, d + 2F), the last token itself if `is_self`, gets: (B, D)."""
        u = synchrony.mismatch(q, k)
        if is_self and self.shared:
            u[..., -1] = 0
        S = synchrony.strength(u, inverse_rho[..., None], self.cos_theta[:, None, None])
        if real is not None:
            S = S * real[:, None, None, :]
        mixed = synchrony.mixing_weights(S, self.top_k, self._floor(is_self)).to(v.dtype) @ v
        return self.out(mixed[:, :, 0].flatten(1))

    def split(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, H, N, d)."""
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
