"""Synchronization attention: gated cosine similarity scores, and one complex coupling kernel as the value pathway.

Sources: arXiv 2606.18694 (scores, kernel, delay); the form of the gate and of the causal delay are our choices.

    s_tu = (1/sqrt(d_h)) sum_c g_c(theta_t) cos(theta_tc - theta_uc + nu_c (t - u))      A = softmax of s over u, causal
    dtheta_t = sum_m Im( Z_m(t) e^{-i m theta_t} )
    Z_m(t) = sum_u A_tu sum_delta kappa_{m,delta} e^{i m theta_{u+delta}}

The delay delta = 1 couples to the *successor* of the attended token, so only tokens before t may be attended. Keys are
shifted by one to make that so by construction: slot u carries the key of token u - 1 and the value
kappa_{m,0} e^{i m theta_{u-1}} + kappa_{m,1} e^{i m theta_u}, and the ordinary causal mask (slot u <= t) is exactly
right. Slot 0 is the null slot (zero value): a place to attend when nothing matches. Its score is that of a zero key, a
learned number of each head, or minus infinity, which leaves it to the first token alone, who has nothing else.

Legend: B batch, N tokens, H heads, d phases, d_h = d / H, M harmonics, kappa complex kernel, g gate, nu RoPE drift.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blocks.rotary import Rotary
from fsn.causal_attention import causal_attention
from fsn.kernel import initial_kernel
from fsn.phases import Features, Observed, features, harmonics, later

NEVER = -1e4  # a score whose weight is exactly zero beside any other


class SynchronizationAttention(nn.Module):
    """Phases theta (B, N, n_phases) in rad -> increments dtheta of the same shape. Causal.

    `harmonics=1, delay=False, frustration=False` is the Kuramoto base layer, sum_u A_tu kappa sin(theta_u - theta_t).
    How the kernel starts, from `kernel` and its strength `coupling`, is told by `initial_kernel`. `gate="constant"`
    learns one gate a coordinate; "content" (our choice) adds a linear map of what `quadratures` show of the query (see
    `Observed`), random at first with a root mean square of `gate_spread`. `null` is the score of the null slot: "zero",
    "learned" (one a head, zero at first), or "none", never attended; without a delay there is no such slot.
    Raises ValueError for an impossible head count, number of harmonics, kernel, gate, null slot or quadratures.
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
    ) -> None:
        super().__init__()
        if n_phases % n_heads:
            raise ValueError(f"{n_phases} phases do not split into {n_heads} heads")
        if harmonics < 1:
            raise ValueError(f"harmonics={harmonics} is less than 1")
        if gate not in ("constant", "content"):
            raise ValueError(f"gate={gate!r} is neither 'constant' nor 'content'")
        if null not in ("zero", "learned", "none"):
            raise ValueError(f"null={null!r} is neither 'zero' nor 'learned' nor 'none'")
        if null != "zero" and not delay:
            raise ValueError(f"null={null!r} needs a delay: without one there is no null slot")
        self.n_phases, self.n_heads, self.harmonics, self.delay = n_phases, n_heads, harmonics, delay
        self.null = null
        d_h = n_phases // n_heads
        self.scale = d_h**-0.5
        self.rotary = Rotary(d_h, rope_base)
        self.gate_constant = nn.Parameter(torch.ones(n_phases))
        self.gate_content = None
        if gate == "content":
            self.observed = Observed(n_phases, quadratures)
            self.gate_content = nn.Linear(self.observed.width, n_phases, bias=False)
        n_delays = 2 if delay else 1
        # kappa = kernel_real + i kernel_imag, (M, delays, d); no frustration at first (our choice).
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

    def forward(self, theta: Tensor, return_diagnostics: bool = False) -> Any:
        """theta (B, N, d) in rad -> dtheta (B, N, d) in rad; with `return_diagnostics` also a dict of tensors."""
        state = features(theta)
        return (self.couple(state), self.diagnostics(state)) if return_diagnostics else self.couple(state)

    def couple(self, state: Features) -> Tensor:
        """dtheta (B, N, d) from the features of theta, so that a network computes them once a state."""
        cos, sin = self.rotary.table(state.cos.shape[1], state.cos.dtype)
        q, k = self._query_key(state, cos, sin)
        powers = harmonics(state, self.harmonics)
        if self.delay:
            q, k = self._with_null(q, later(k))
            v = self._values(powers, [Features(later(power.cos), later(power.sin)) for power in powers])
            v = torch.cat((torch.zeros_like(v[:, :, :1]), v[:, :, 1:]), dim=2)  # the null slot
        else:
            v = self._values(powers)
        return self._read(causal_attention(q, k, v, self.scale), powers)

    @torch.no_grad()
    def diagnostics(self, state: Features) -> dict[str, Tensor]:
        """What the layer attends to, from the dense N x N matrix (our choice of quantities).

        attention (B, H, N, N): weight of token u for query t, zero for what may not be attended; null (B, H, N): the
        rest of each row, on the null slot; order_parameter (B, H, N) in [0, 1]: mean over the head's coordinates of
        |sum_u A_tu e^{i theta_u}|, how much the attended tokens agree; gate (B, H, N): mean of g over the same.
        """
        length = state.cos.shape[1]
        q, k = self._query_key(state, *self.rotary.table(length, state.cos.dtype))
        if self.delay:
            q, k = self._with_null(q, later(k))
        scores = q @ k.transpose(2, 3) * self.scale
        future = torch.ones(length, length, dtype=torch.bool, device=q.device).triu(1)
        weights = scores.masked_fill(future, float("-inf")).softmax(-1)
        null = weights[..., 0] if self.delay else torch.zeros_like(weights[..., 0])
        # With a delay slot u holds token u - 1: back to columns by token.
        attention = F.pad(weights[..., 1:], (0, 1)) if self.delay else weights
        real, imaginary = attention @ self._split(state.cos), attention @ self._split(state.sin)
        return {
            "attention": attention,
            "null": null,
            "order_parameter": torch.hypot(real, imaginary).mean(-1),
            "gate": self._gate(state).mean(-1).expand_as(null),
        }

    def init_cache(self, batch_size: int) -> dict[str, Any]:
        """Keys and values of the slots seen so far: none. With a delay, also the last token's key and harmonics."""
        empty = self.kernel_real.new_empty(batch_size, self.n_heads, 0, 2 * self.n_phases // self.n_heads)
        with_null, _ = self._with_null(empty, empty)
        return {"k": with_null, "v": empty.repeat(1, 1, 1, self.harmonics), "last": None}

    def step(self, state: Features, cache: dict[str, Any]) -> Tensor:
        """One token: features (B, d) -> dtheta (B, d); its slot joins the cache."""
        t = cache["k"].shape[2]
        state = Features(state.cos[:, None], state.sin[:, None])
        q, k = self._query_key(state, *self.rotary.phase(t, t + 1, state.cos.dtype))
        powers = harmonics(state, self.harmonics)
        if self.delay:
            last, cache["last"] = cache["last"], (k, powers)
            k, v = (last[0], self._values(powers, last[1])) if last else (torch.zeros_like(k), None)
            q, k = self._with_null(q, k, first=t == 0)
        else:
            v = self._values(powers)
        if v is None:
            v = cache["v"].new_zeros(*cache["v"].shape[:2], 1, cache["v"].shape[3])
        cache["k"], cache["v"] = torch.cat((cache["k"], k), dim=2), torch.cat((cache["v"], v), dim=2)
        weights = torch.softmax(q @ cache["k"].transpose(2, 3) * self.scale, dim=-1)
        return self._read(weights @ cache["v"], powers)[:, 0]

    def _query_key(self, state: Features, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        """q = g * (cos, sin)(theta_t + nu t) and k = (cos, sin)(theta_u + nu u), each (B, H, N, 2 d_h)."""
        c, s = self._split(state.cos), self._split(state.sin)
        drifted_cos, drifted_sin = c * cos - s * sin, c * sin + s * cos
        gate = self._gate(state)
        q = torch.cat((gate * drifted_cos, gate * drifted_sin), dim=-1)
        return q, torch.cat((drifted_cos, drifted_sin), dim=-1)

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

    def _values(self, powers: list[Features], earlier: list[Features] | None = None) -> Tensor:
        """sum_delta kappa_{m,delta} e^{i m theta}, (B, H, N, M 2 d_h): both delays combined before aggregation.

        With a delay, `earlier` holds e^{i m theta} of the attended token and `powers` that of its successor.
        """
        parts = []
        for m in range(self.harmonics):
            real: Any = 0.0
            imaginary: Any = 0.0
            for delay, (c, s) in enumerate((powers[m],) if earlier is None else (earlier[m], powers[m])):
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
