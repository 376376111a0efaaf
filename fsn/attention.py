"""Synchronization attention: gated cosine similarity scores, and one complex coupling kernel as the value pathway.

Sources: arXiv 2606.18694 (scores, kernel, delay); the form of the gate and of the causal delay are our choices.

    s_tu = (1/sqrt(d_h)) sum_c g_c(theta_t) cos(theta_tc - theta_uc + nu_c (t - u))      A = softmax of s over u
    dtheta_t = sum_m Im( Z_m(t) e^{-i m theta_t} )
    Z_m(t) = sum_u A_tu sum_delta kappa_{m,delta} e^{i m theta_{u+delta}}

The delay delta = 1 couples to the *successor* of the attended token, so only tokens before t may be attended. Keys are
shifted by one to make that so by construction: slot u carries the key of token u - 1 and the value
kappa_{m,0} e^{i m theta_{u-1}} + kappa_{m,1} e^{i m theta_u}, and the ordinary causal mask (slot u <= t) is exactly
right. Slot 0 is the null slot (zero value): a place to attend when nothing matches. Its score is that of a zero key, a
learned number of each head, or minus infinity, which leaves it to the first token alone, who has nothing else.

Where no token is in the future, in a layer that is not causal or of a memory, nothing is shifted: every token u may be
attended, itself too, and coupled to with its successor; where the layer is not causal also with its predecessor,
delta = -1. A neighbour that is not there, before the first token, behind the last or of padding, gives nothing. The
null slot, if it may be attended, comes before all tokens. The bidirectional form, the coupling to an encoder and the
successor of a source token are named by arXiv 2606.18694; what an end without a neighbour gives, the null slot there
and that positions of both sequences are counted from 0 are our choices.

Legend: B batch, N tokens, L tokens of a memory, S slots, H heads, d phases, d_h = d / H, M harmonics, kappa complex
kernel, g gate, nu RoPE drift.
"""

import math
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.types import Device

from fsn.gated_rotation import query_key, rotated
from fsn.kernel import initial_kernel
from fsn.padding import couple_real_tokens, phases_without, without
from fsn.phases import Features, Observed, earlier, features, harmonics, later
from fsn.softmax_attention import attention_weights, softmax_attention
from synchrony_blocks import checks
from synchrony_blocks.cache import MemoryCache, TokenBuffer, check_own
from synchrony_blocks.configured import Configured
from synchrony_blocks.rotary import Rotary

NEVER = -1e4  # a score whose weight is exactly zero beside any other


class SynchronizationAttention(Configured):
    """Phases theta (B, N, n_phases) in rad -> increments dtheta of the same shape.

    `causal`: a token couples to tokens before it (without a delay, to itself too), else to all of its sequence. Of a
    memory it couples to all either way. `predecessor`: whether a kernel of its own couples to the token before the
    attended one, by default where there is a delay and the layer is not causal; that is where it may be.
    `harmonics=1, delay=False, frustration=False` is the Kuramoto base layer, sum_u A_tu kappa sin(theta_u - theta_t).
    How the kernel starts, from `kernel` and its strength `coupling`, is told by `initial_kernel`. `gate="constant"`
    learns one gate a coordinate; "content" (our choice) adds a linear map of what `quadratures` show of the query (see
    `Observed`), random at first with a root mean square of `gate_spread`. `null` is the score of the null slot: "zero",
    "learned" (one a head, zero at first), or "none", never attended; without a delay there is no such slot.
    Raises ValueError for an impossible number of phases, heads, harmonics or quadratures, an impossible kernel, gate,
    null slot or predecessor, TypeError for what is no whole number or no switch.
    """

    def __init__(
        self,
        n_phases: int,
        n_heads: int,
        harmonics: int = 2,
        delay: bool = True,
        *,
        frustration: bool = True,
        kernel: str = "shared",
        coupling: float = 0.5,
        gate: str = "content",
        gate_spread: float = 1.0,
        null: str = "zero",
        rope_base: float = 10_000.0,
        quadratures: int = 2,
        causal: bool = True,
        predecessor: bool | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, number in (("n_phases", n_phases), ("n_heads", n_heads), ("harmonics", harmonics)):
            checks.whole(name, number, 1)
        for name, switch in (("delay", delay), ("frustration", frustration), ("causal", causal)):
            checks.switch(name, switch)
        for name, value in (("coupling", coupling), ("gate_spread", gate_spread)):
            checks.number(name, value, math.isfinite, "is not finite")
        checks.number("rope_base", rope_base, lambda base: 0 < base < math.inf, "is not positive and finite")
        if n_phases % n_heads:
            raise ValueError(f"{n_phases} phases do not split into {n_heads} heads")
        if gate not in ("constant", "content"):
            raise ValueError(f"gate={gate!r} is neither 'constant' nor 'content'")
        if null not in ("zero", "learned", "none"):
            raise ValueError(f"null={null!r} is neither 'zero' nor 'learned' nor 'none'")
        if null != "zero" and not delay:
            raise ValueError(f"null={null!r} needs a delay: without one there is no null slot")
        if predecessor is None:
            predecessor = delay and not causal
        checks.switch("predecessor", predecessor)
        if predecessor and (causal or not delay):
            raise ValueError("predecessor=True needs a delay and causal=False: only there is the kernel for it")
        self.n_phases, self.n_heads, self.harmonics, self.delay = n_phases, n_heads, harmonics, delay
        self.null, self.causal, self.predecessor = null, causal, predecessor
        d_h = n_phases // n_heads
        self.scale = d_h**-0.5
        self.rotary = Rotary(d_h, rope_base)
        self.gate_constant = nn.Parameter(torch.ones(n_phases))
        self.gate_content = None
        if gate == "content":
            self.observed = Observed(n_phases, quadratures)
            self.gate_content = nn.Linear(self.observed.width, n_phases, bias=False)
        n_delays = 1 + delay + predecessor
        # kappa = kernel_real + i kernel_imag, (M, delays, d), of the attended token, its successor, its predecessor; no
        # frustration at first (our choice).
        self.kernel_real = nn.Parameter(initial_kernel(kernel, coupling, harmonics, n_delays, n_phases))
        self.kernel_imag = nn.Parameter(torch.zeros(harmonics, n_delays, n_phases)) if frustration else None
        if self.gate_content is not None:  # the mean square of a feature is 1/2
            nn.init.normal_(self.gate_content.weight, std=gate_spread * (self.observed.width / 2) ** -0.5)
        if self.null == "learned":
            self.null_score = nn.Parameter(torch.zeros(n_heads))

    def undecayed(self) -> list[Tensor]:
        """Parameters that weight decay must leave alone."""
        return [self.gate_constant, *self.kernels()]

    def kernels(self) -> list[Tensor]:
        """The coupling kernel, which may take a rate of its own."""
        return [self.kernel_real] if self.kernel_imag is None else [self.kernel_real, self.kernel_imag]

    def gates(self) -> list[Tensor]:
        """The gate, which may take a rate of its own."""
        return [self.gate_constant] if self.gate_content is None else [self.gate_constant, self.gate_content.weight]

    @overload
    def forward(
        self,
        theta: Tensor,
        *,
        memory: Tensor | None = None,
        padding_mask: Tensor | None = None,
        offset: int = 0,
        return_diagnostics: Literal[False] = False,
    ) -> Tensor: ...

    @overload
    def forward(
        self,
        theta: Tensor,
        *,
        memory: Tensor | None = None,
        padding_mask: Tensor | None = None,
        offset: int = 0,
        return_diagnostics: Literal[True],
    ) -> tuple[Tensor, dict[str, Tensor]]: ...

    def forward(
        self,
        theta: Tensor,
        *,
        memory: Tensor | None = None,
        padding_mask: Tensor | None = None,
        offset: int = 0,
        return_diagnostics: bool = False,
    ) -> Any:
        """theta (B, N, d) in rad -> dtheta (B, N, d) in rad; with `return_diagnostics` also a dict of tensors.

        `memory` (B, L, d) phases in rad: what is attended to and coupled to instead of theta (cross-attention, never
        causal). `padding_mask` (B, L) bool, True for a real token of what is attended to (see `fsn.padding`): padding
        is neither attended nor a neighbour. A padded row of theta itself gets zeros. `offset`: where the first token of
        theta is beside a memory, which starts at 0. Raises ValueError for shapes that do not fit and for phases of
        whole numbers, TypeError for what is no tensor.
        """
        checks.sequences("theta", theta, memory, padding_mask, self.n_phases)
        if offset and memory is None:
            raise ValueError(f"offset={offset} is for cross-attention: give memory too, or decode with step()")
        theta, memory = phases_without(theta, memory, padding_mask)
        state, source = features(theta), None if memory is None else features(memory)
        dtheta = self.couple(state, source, padding_mask, offset)
        return (dtheta, self.diagnostics(state, source, padding_mask, offset)) if return_diagnostics else dtheta

    if TYPE_CHECKING:
        __call__ = forward

    def couple(
        self, state: Features, memory: Features | None = None, padding_mask: Tensor | None = None, offset: int = 0
    ) -> Tensor:
        """dtheta (B, N, d) from the features of theta, so that a network computes them once a state, and of a memory.
        Arguments as for `forward`.
        """

        def couple(state: Features, memory: Features | None, padding_mask: Tensor | None) -> Tensor:
            causal = self.causal and memory is None
            q, k, real = self._query_slots(state, memory, padding_mask, offset)
            powers = harmonics(state, self.harmonics)
            v = self._slot_values(powers if memory is None else harmonics(memory, self.harmonics), causal)
            return self._read(softmax_attention(q, k, v, self.scale, causal=causal, key_mask=real), powers)

        return couple_real_tokens(couple, state, memory, padding_mask)

    @torch.no_grad()
    def diagnostics(
        self, state: Features, memory: Features | None = None, padding_mask: Tensor | None = None, offset: int = 0
    ) -> dict[str, Tensor]:
        """What the layer attends to, from the dense N x L matrix (our choice of quantities), L = N without a memory.

        attention (B, H, N, L): weight of token u for query t, zero for what may not be attended; null (B, H, N): the
        rest of each row, on the null slot; order_parameter (B, H, N) in [0, 1]: mean over the head's coordinates of
        |sum_u A_tu e^{i theta_u}|, how much the attended tokens agree; gate (B, H, N): mean of g over the same. All but
        the gate are zero for padding of theta. Arguments as for `forward`.
        """
        source = without(state if memory is None else memory, padding_mask)
        state, memory = (source, None) if memory is None else (state, source)
        q, k, real = self._query_slots(state, memory, padding_mask, offset)
        causal = self.causal and memory is None
        weights = attention_weights(q, k, self.scale, causal=causal, key_mask=real)
        if memory is None and padding_mask is not None:
            weights = weights * padding_mask[:, None, :, None]
        null, attention = torch.zeros_like(weights[..., 0]), weights
        if self._has_null(causal):  # the slots after it hold the tokens, all of them or all but the last
            null, attention = weights[..., 0], F.pad(weights[..., 1:], (0, 1 if causal else 0))
        real_part, imaginary = attention @ self._split(source.cos), attention @ self._split(source.sin)
        return {
            "attention": attention,
            "null": null,
            "order_parameter": torch.hypot(real_part, imaginary).mean(-1),
            "gate": self._gate(state).mean(-1).expand_as(null),
        }

    def init_cache(
        self, batch_size: int, memory: Tensor | None = None, padding_mask: Tensor | None = None
    ) -> dict[str, Any]:
        """What `step` keeps of the tokens so far, of none: keys and values of their slots and, with a delay, the last
        token's key and harmonics. Of a memory (B, L, d) in rad, all of which is known: its keys and values `k`, `v`
        (B, H, S, .), which slots are real (B, S), and `t`, how many tokens there were. Raises as `forward` does.
        """
        if memory is not None:
            checks.sequences("memory", memory, None, padding_mask, self.n_phases)
            if len(memory) != batch_size:
                raise ValueError(f"memory has a batch of {len(memory)} and the cache one of {batch_size}")
            return self.memory_cache(features(memory), padding_mask)
        if padding_mask is not None:
            raise ValueError("padding_mask is of a memory here: give memory too")
        empty = self.kernel_real.new_empty(batch_size, self.n_heads, 0, 2 * self.n_phases // self.n_heads)
        with_null, _ = self._with_null(empty, empty)
        return {
            "k": TokenBuffer(with_null),
            "v": TokenBuffer(empty.repeat(1, 1, 1, self.harmonics)),
            "last": None,
        }

    def memory_cache(self, memory: Features, padding_mask: Tensor | None = None) -> MemoryCache:
        """That of a memory, from its features (B, L, d), so that a network computes them once."""
        source = without(memory, padding_mask)
        _, k, real = self._query_slots(source, source, padding_mask)
        v = self._slot_values(harmonics(source, self.harmonics), causal=False)
        return MemoryCache(len(k), k=k, v=v, real=real, t=0)

    def prefill(self, state: Tensor | Features, cache: dict[str, Any]) -> Tensor:
        """The first tokens at once: theta (B, N, d) in rad, or its features -> dtheta (B, N, d); the cache of none yet
        is filled. ValueError for a layer that is not causal.
        """
        checks.decodes(self.causal)
        check_own(cache)
        state = features(state)
        powers = harmonics(state, self.harmonics)
        _, k, _ = self._query_slots(state, None, None)
        cache["k"].fill(k)
        cache["v"].fill(self._slot_values(powers, causal=True))
        if self.delay:
            last = Features(state.cos[:, -1:], state.sin[:, -1:])
            _, k = self._query_key(last, start=state.cos.shape[1] - 1)
            cache["last"] = k, harmonics(last, self.harmonics)
        return self.couple(state)

    def step(self, state: Tensor | Features, cache: dict[str, Any]) -> Tensor:
        """One token: theta (B, d) in rad, or its features -> dtheta (B, d).

        Its slot joins the cache, unless that is of a memory.

        Raises ValueError for a layer that is not causal, where the cache is not of a memory, and for another batch.
        """
        state = features(state)
        checks.same_batch("the token", state.cos, cache["k"])
        state = Features(state.cos[:, None], state.sin[:, None])
        powers = harmonics(state, self.harmonics)
        if "t" in cache:
            q, k = self._query_key(state, start=cache["t"])
            if self._has_null(causal=False):
                q, _ = self._with_null(q, k, first=False)
            cache["t"] += 1
            mixed = softmax_attention(q, cache["k"], cache["v"], self.scale, causal=False, key_mask=cache["real"])
            return self._read(mixed, powers)[:, 0]
        checks.decodes(self.causal)
        t = cache["k"].length
        q, k = self._query_key(state, start=t)
        if self.delay:
            last, cache["last"] = cache["last"], (k, powers)
            k, v = (last[0], self._values(last[1], powers)) if last else (torch.zeros_like(k), None)
            q, k = self._with_null(q, k, first=t == 0)
        else:
            v = self._values(powers)
        if v is None:
            v = torch.zeros_like(self._values(powers))
        k, v = cache["k"].append(k), cache["v"].append(v)
        weights = torch.softmax(q @ k.transpose(2, 3) * self.scale, dim=-1)
        return self._read(weights @ v, powers)[:, 0]

    def _query_slots(
        self, state: Features, memory: Features | None, padding_mask: Tensor | None, offset: int = 0
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """q (B, H, N, E), the keys of the slots (B, H, S, E), and which are not of padding (B, S), None for all."""
        causal = self.causal and memory is None
        q, k = self._query_key(state, memory, offset)
        if not self._has_null(causal):
            return q, k, padding_mask
        if causal:  # slot u holds token u - 1
            k, padding_mask = later(k), None if padding_mask is None else padding_mask[:, :-1]
        else:
            k = F.pad(k, (0, 0, 1, 0))
        return *self._with_null(q, k), None if padding_mask is None else F.pad(padding_mask, (1, 0), value=True)

    def _has_null(self, causal: bool) -> bool:
        """Whether there is a null slot: with shifted keys always, for the first token."""
        return self.delay and (causal or self.null != "none")

    def _query_key(self, state: Features, memory: Features | None = None, start: int = 0) -> tuple[Tensor, Tensor]:
        """q = g * (cos, sin)(theta_t + nu t), (B, H, N, 2 d_h), where the first t is `start`, and of the same tokens,
        or of a memory's from 0 on, k = (cos, sin)(theta_u + nu u), (B, H, L, 2 d_h).
        """
        drift = self._drift(state, start)
        q, k = query_key(self._split(state.cos), self._split(state.sin), self._gate(state), *drift)
        if memory is not None:
            c, s = self._split(memory.cos), self._split(memory.sin)
            k = torch.cat(rotated(c, s, *self._drift(memory)), dim=-1)
        return q, k

    def _drift(self, state: Features, start: int = 0) -> tuple[Tensor, Tensor]:
        """cos and sin of nu u, each (N, d_h), where the first u is `start`."""
        length, dtype = state.cos.shape[1], state.cos.dtype
        return self.rotary.phase(start, start + length, dtype) if start else self.rotary.table(length, dtype)

    def _with_null(self, q: Tensor, k: Tensor, first: bool = True) -> tuple[Tensor, Tensor]:
        """q, k (B, H, N, E) with more coordinates, of which one gives the null slot its score, if that is not zero.

        `first`: whether k begins at slot 0; in decoding it does at the first token only.
        """
        if self.null == "zero":
            return q, k
        learned = self.null == "learned"
        score = (self.null_score.to(q.dtype) if learned else q.new_full((1,), NEVER)).view(-1, 1, 1) / self.scale
        is_null = torch.arange(k.shape[2], device=k.device)[:, None] == (0 if first else -1)
        column = torch.where(is_null, score, 0.0).expand(*k.shape[:3], 1)
        # Eight coordinates though one would do: fused kernels ask for key widths that are multiples of eight.
        return F.pad(q, (0, 8), value=1.0), torch.cat((k, F.pad(column, (0, 7))), dim=-1)

    def _gate(self, state: Features) -> Tensor:
        """g_c(theta_t), (B, H, N, d_h), or (1, H, 1, d_h) when it is constant."""
        gate = self.gate_constant.view(1, self.n_heads, 1, -1)
        return gate if self.gate_content is None else gate + self._split(self.gate_content(self.observed(state)))

    def _slot_values(self, attended: list[Features], causal: bool) -> Tensor:
        """What a query that attends to a slot couples to, (B, H, S, M 2 d_h), from e^{i m theta} of all tokens."""
        if not self.delay:
            return self._values(attended)
        before = [Features(later(power.cos), later(power.sin)) for power in attended]
        if causal:  # slot u holds token u - 1
            v = self._values(before, attended)
            return torch.cat((torch.zeros_like(v[:, :, :1]), v[:, :, 1:]), dim=2)  # the null slot
        behind = [Features(earlier(power.cos), earlier(power.sin)) for power in attended]
        v = self._values(attended, behind, before) if self.predecessor else self._values(attended, behind)
        return F.pad(v, (0, 0, 1, 0)) if self._has_null(causal) else v

    def _values(self, *neighbours: list[Features]) -> Tensor:
        """sum_delta kappa_{m,delta} e^{i m theta}, (B, H, N, M 2 d_h): all delays combined before aggregation.

        `neighbours` are e^{i m theta} of what the delays couple to: the attended token, its successor, its predecessor.
        """
        parts = []
        for m in range(self.harmonics):
            real: Any = 0.0
            imaginary: Any = 0.0
            for delay, (c, s) in enumerate(powers[m] for powers in neighbours):
                a = self.kernel_real[m, delay]
                real, imaginary = real + a * c, imaginary + a * s
                if self.kernel_imag is not None:
                    b = self.kernel_imag[m, delay]
                    real, imaginary = real - b * s, imaginary + b * c
            parts += [self._split(real), self._split(imaginary)]
        return torch.cat(parts, dim=-1)

    def _read(self, mixed: Tensor, powers: list[Features]) -> Tensor:
        """sum_m Im( Z_m e^{-i m theta} ) from Z (B, H, N, M 2 d_h): (B, N, d)."""
        increment: Any = 0.0
        for (c, s), z in zip(powers, mixed.chunk(self.harmonics, dim=-1), strict=True):
            z_real, z_imag = (part.transpose(1, 2).flatten(2) for part in z.chunk(2, dim=-1))
            increment = increment + z_imag * c - z_real * s
        return increment

    def _split(self, x: Tensor) -> Tensor:
        """(B, N, d) -> (B, H, N, d_h)."""
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
