"""The shell of every language model: token embedding, blocks, a norm where states need one, readout.

Only the blocks differ from model to model, so a comparison changes one thing. What a model of your own has to offer is
`Block`; CONTRIBUTING.md shows one. With cross-attention in its blocks the shell is the decoder of a translator
(`synchrony_blocks.translator`).

Legend: B batch, N tokens, M tokens of a memory, D width of a state, V vocabulary.
"""

from collections.abc import Iterable
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, cast, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.types import Device

from synchrony_blocks import checks, saved
from synchrony_blocks.adaptive import Bands
from synchrony_blocks.configured import Configured
from synchrony_blocks.cross_entropy import cross_entropy, exceeds_bound
from synchrony_blocks.sampling import continued

Cache = list[dict[str, Any]]
STEPS = "the decoder of a translator reads no prompt at once: take step"


class Mixes(Protocol):
    """What brings a token news of others: of those up to it or of a memory, all at once or one token after another.

    `attended` are keywords for a translator's: `memory` (B, M, D) and `padding_mask` (B, M), True for a real token of
    it. What an encoder has takes `padding_mask` of x alone. A language model gives neither.
    """

    def __call__(self, x: Tensor, *_: Any, **attended: Any) -> Tensor:
        """(B, N, D) -> (B, N, D)."""

    def init_cache(self, batch_size: int, *_: Any, **attended: Any) -> dict[str, Any]:
        """What `step` remembers of the tokens so far: nothing yet, or of a memory: all of it."""

    def step(self, x: Tensor, cache: dict[str, Any]) -> Tensor:
        """(B, D) -> (B, D) for one more token; the cache is updated in place."""


class Block(Mixes, Protocol):
    """A layer of the shell: it moves information between tokens, causally."""

    def prefill(self, x: Tensor, cache: dict[str, Any]) -> Tensor:
        """(B, N, D) -> (B, N, D) for the first tokens at once; the cache of none yet is filled. A mixer may do without:
        then its `step` reads them.
        """

    def diagnostics(self, x: Tensor) -> dict[str, Tensor]:
        """What the block does with x (B, N, D), `attention` (B, H, N, N) among it."""


class DecoderBlock(nn.Module):
    """The pre-norm block: x + mixer(norm(x)), then x + feed_forward(norm(x)). A mixer offers what a `Block` does.

    With `cross`, x + cross(norm(x)) between the two: attention to a memory, which takes the keywords of `Mixes`. With
    no `cross` they go to the mixer. `dropout` is the share of an increment's numbers that training leaves out.
    """

    def __init__(
        self,
        width: int,
        mixer: Block,
        feed_forward: nn.Module,
        *,
        cross: Mixes | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.mixer_norm = nn.RMSNorm(width)
        self.mixer = mixer
        if cross is not None:
            self.cross_norm = nn.RMSNorm(width)
        self.cross = cross
        self.feed_forward_norm = nn.RMSNorm(width)
        self.feed_forward = feed_forward
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, **attended: Any) -> Tensor:
        """x (B, N, D) -> (B, N, D)."""
        x = x + self.dropout(self.mixer(self.mixer_norm(x), **(attended if self.cross is None else {})))
        if self.cross is not None:
            x = x + self.dropout(self.cross(self.cross_norm(x), **attended))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))

    def init_cache(self, batch_size: int, **attended: Any) -> dict[str, Any]:
        """The mixer's cache, of no token yet; with cross-attention both, by their names."""
        own = self.mixer.init_cache(batch_size)
        return own if self.cross is None else {"mixer": own, "cross": self.cross.init_cache(batch_size, **attended)}

    def step(self, x: Tensor, cache: dict[str, Any]) -> Tensor:
        """One token: x (B, D), the caches are updated in place. Without dropout."""
        x = x + self.mixer.step(self.mixer_norm(x), cache if self.cross is None else cache["mixer"])
        if self.cross is not None:
            x = x + self.cross.step(self.cross_norm(x), cache["cross"])
        return x + self.feed_forward(self.feed_forward_norm(x))

    def prefill(self, x: Tensor, cache: dict[str, Any]) -> Tensor:
        """The first tokens at once: x (B, N, D), the cache of none yet is filled. ValueError with cross-attention."""
        if self.cross is not None:
            raise ValueError(STEPS)
        normed = self.mixer_norm(x)
        if hasattr(self.mixer, "prefill"):
            x = x + self.mixer.prefill(normed, cache)
        else:
            x = x + torch.stack([self.mixer.step(token, cache) for token in normed.unbind(1)], dim=1)
        return x + self.feed_forward(self.feed_forward_norm(x))

    def diagnostics(self, x: Tensor) -> dict[str, Tensor]:
        """What the mixer does with what it gets of x (B, N, D)."""
        return self.mixer.diagnostics(self.mixer_norm(x))


class Decoder(Configured):
    """tokens (B, N) int64 -> logits (B, N, V), by a readout that is tied to the embedding.

    `embedding`: a table of vectors, or for a vocabulary of words `synchrony_blocks.adaptive.TiedBands`. `norm` is taken
    of the last block's state; None leaves it as it is. `dropout` is the share of an embedding's numbers that training
    leaves out.
    """

    embedding: Any  # nn.Embedding, or what has bands in its place

    def __init__(
        self, embedding: nn.Module, layers: Iterable[nn.Module], norm: nn.Module | None, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(layers)
        self.norm = nn.Identity() if norm is None else norm

    def embeddings(self) -> list[Tensor]:
        """The vectors of the tokens, which take the rate of learned phases."""
        return [self.embedding.weight] if isinstance(self.embedding, nn.Embedding) else []  # bands name their own

    @property
    def bands(self) -> Bands | None:
        """The adaptive softmax that reads the final states; None: a readout of one table does."""
        return next(
            (part for part in (getattr(self, "readout", None), self.embedding) if isinstance(part, Bands)), None
        )

    @property
    def vocabulary_size(self) -> int:
        """V."""
        return int(self.embedding.num_embeddings)

    def undecayed(self) -> list[Tensor]:
        """Parameters that weight decay must leave alone: it grows with the rate, and embeddings take a larger one."""
        return self.embeddings()

    @overload
    def forward(
        self, tokens: Tensor, return_diagnostics: Literal[False] = False, targets: Tensor | None = None
    ) -> Tensor: ...

    @overload
    def forward(
        self, tokens: Tensor, return_diagnostics: Literal[True], targets: Tensor | None = None
    ) -> tuple[Tensor, list[dict[str, Tensor]]]: ...

    def forward(self, tokens: Tensor, return_diagnostics: bool = False, targets: Tensor | None = None) -> Any:
        """tokens (B, N) int64 -> logits (B, N, V), or with `targets` (B, N) the loss of each in nats (B, N), 0 where it
        is -100; with `return_diagnostics` also a list of what each block reports. ValueError or TypeError for what is
        not tokens (B, N).
        """
        checks.tokens("tokens", tokens)
        diagnostics: list[dict[str, Tensor]] | None = [] if return_diagnostics else None
        hidden = self.hidden(tokens, diagnostics)
        read = self.logits(hidden) if targets is None else self.nats(hidden, targets)
        return (read, diagnostics) if return_diagnostics else read

    if TYPE_CHECKING:
        __call__ = forward

    def reads_in_parts(self, n_tokens: int) -> bool:
        """Whether the loss of so many tokens is to be had of `forward(tokens, targets=)`: all logits are too many."""
        return self.bands is not None or exceeds_bound(n_tokens, self.vocabulary_size)

    def embedded(self, tokens: Tensor) -> Tensor:
        """What the first block gets (..., D) of tokens (...)."""
        return self.dropout(self.embedding(tokens))

    def hidden(self, tokens: Tensor, diagnostics: list[dict[str, Tensor]] | None = None, **attended: Any) -> Tensor:
        """The final states (B, N, D) of tokens (B, N), which `logits` reads. `diagnostics` is given each block's.
        `attended`: keywords of the blocks (see `Mixes`).
        """
        x = self.embedded(tokens)
        for layer in self._blocks():
            if diagnostics is not None:
                diagnostics.append(layer.diagnostics(x))
            x = layer(x, **attended)
        return self.norm(x)

    def seen(self, hidden: Tensor) -> Tensor:
        """What the readout sees of final states (..., D): these themselves."""
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) of final states (..., D): by themselves, so that a large vocabulary may be read in parts.

        Those of an adaptive softmax are log-probabilities.
        """
        if self.bands is not None:
            return self.bands.log_prob(self.seen(hidden))
        return F.linear(hidden, self.embedding.weight)

    def nats(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Loss in nats (...) of targets (...) int64, 0 where one is -100, from final states (..., D).

        No tensor of logits is larger than `synchrony_blocks.cross_entropy.MOST_LOGITS` numbers, or one token's.
        """
        if self.bands is not None:
            return self.bands.nats(self.seen(hidden), targets)
        return cross_entropy(self.logits, hidden, targets, self.vocabulary_size)

    @torch.no_grad()
    def init_cache(self, batch_size: int, **attended: Any) -> Cache:
        """An empty cache for `step`, one dictionary a block. `attended`: keywords of the blocks (see `Mixes`)."""
        return [layer.init_cache(batch_size, **attended) for layer in self._blocks()]

    @torch.no_grad()
    def prefill(self, tokens: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        """Logits (B, V) after the first tokens (B, N), read in one pass: what as many calls of `step` give with a new
        cache of `init_cache`. ValueError for a cache with tokens or of another batch, for no token, and in the decoder
        of a translator; ValueError or TypeError for what is not tokens (B, N).
        """
        checks.prompt("tokens", tokens)
        x = self.embedding(tokens)
        for layer, layer_cache in zip(self._blocks(), cache, strict=True):
            x = layer.prefill(x, layer_cache)
        return self.logits(self.norm(x[:, -1])), cache

    @torch.no_grad()
    def step(self, token: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        """Logits (B, V) after one more token (B,); equal to the last position of the full forward pass."""
        x = self.embedding(token)
        for layer, layer_cache in zip(self._blocks(), cache, strict=True):
            x = layer.step(x, layer_cache)
        return self.logits(self.norm(x)), cache

    def generate(
        self,
        prompt: Tensor,
        n_tokens: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """prompt (B, N) int64 -> (B, N + n_tokens), on the network's device: the prompt, and what is drawn after it,
        with the cached step. Arguments and what is raised: see `synchrony_blocks.sampling.continued`; IndexError
        for a token beyond the vocabulary.
        """
        checks.tokens("prompt", prompt)
        prompt = prompt.to(next(self.parameters()).device)
        if prompt.numel() and not 0 <= int(prompt.min()) <= int(prompt.max()) < self.vocabulary_size:
            raise IndexError(f"prompt has tokens out of range: there are 0 to {self.vocabulary_size - 1}")
        options: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "generator": generator}
        return torch.cat((prompt, *(x[:, None] for x in continued(self, prompt, n_tokens, **options))), dim=1)

    def save(self, folder: str | PathLike[str]) -> None:
        """Write weights and arguments as data into a folder; see `synchrony_blocks.saved.save`."""
        saved.save(self, folder)

    @classmethod
    def load(cls, folder: str | PathLike[str], device: Device = None) -> Self:
        """The network that `save` wrote; see `synchrony_blocks.saved.load`."""
        return saved.load(cls, folder, device)

    def compile(self, *arguments: Any, **options: Any) -> None:
        """As of every module. What takes other shapes with every batch, or has to hold little, stays as it is."""
        eager: Any = torch.compiler.disable
        self.nats = eager(self.nats)  # type: ignore[method-assign]
        super().compile(*arguments, **options)

    def _blocks(self) -> Iterable[Block]:
        return cast(Iterable[Block], self.layers)
