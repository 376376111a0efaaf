"""Adaptive softmax and adaptive input embeddings: a vocabulary in bands by frequency, the rarer the narrower.

Sources: Grave et al. 2017 (arXiv 1609.04309) for the softmax; Baevski & Auli 2019 (arXiv 1809.10853) for the inputs,
and for the tie of both. The commonest tokens, band 0, have vectors as wide as a state; band b has d_b = D / div^b
coordinates and a map to D. A rare token costs the head's loss of its band and then the loss within the band:

    log p(v) = log softmax(W_0 h)_v                                        v in band 0
    log p(v) = log softmax(W_0 h)_{band b} + log softmax(W_b P_b h)_v      v in band b

and TiedBands reads a token with the same tables: x = W_0[v], or P_b^T W_b[v]. Tokens are to be numbered by falling
frequency; another order costs time and capacity, and is no error.

Legend: V vocabulary, D width of a state, d_b width of a band, W_b (size, d_b) table, P_b (d_b, D) map.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synchrony_blocks.cross_entropy import IGNORE, in_chunks, widened


def checked_cutoffs(cutoffs: Sequence[int], vocabulary_size: int, width: int, div_value: int) -> list[int]:
    """The bounds of all bands, 0 and V among them. ValueError for what makes no bands of a vocabulary and a width."""
    bounds = [0, *cutoffs, vocabulary_size]
    if not cutoffs or any(low >= high for low, high in pairwise(bounds)):
        raise ValueError(f"cutoffs={list(cutoffs)} do not rise from 1 to below the vocabulary of {vocabulary_size:,}")
    if width // div_value ** len(cutoffs) < 1:
        raise ValueError(
            f"cutoffs={list(cutoffs)} leave the last band no coordinate: a width of {width} by {div_value} for each"
        )
    return bounds


def gathered(tokens: Tensor, bounds: Sequence[int], vectors: Callable[[int, Tensor], Tensor]) -> Tensor:
    """A vector (..., D) for each of tokens (...): `vectors(band, numbers within it) -> (..., D)`.

    Every band is asked for all tokens, and what is not of it is dropped: maps of bands cost little beside a network,
    and shapes do not follow from the tokens.
    """
    x = None
    for band, (low, high) in enumerate(pairwise(bounds)):
        here = vectors(band, (tokens - low).clamp(0, high - low - 1))
        x = here if x is None else torch.where((tokens >= low)[..., None], here.to(x.dtype), x)
    assert x is not None, "there is a first band"
    return x


class Bands(nn.Module):
    """The readout: an adaptive softmax over states (..., D), its parameters those of torch's own.

    Raises ValueError as of `checked_cutoffs`.
    """

    def __init__(self, width: int, vocabulary_size: int, cutoffs: Sequence[int], div_value: int = 4) -> None:
        super().__init__()
        self.bounds = checked_cutoffs(cutoffs, vocabulary_size, width, div_value)
        self.softmax = nn.AdaptiveLogSoftmaxWithLoss(width, vocabulary_size, list(cutoffs), float(div_value))
        self.num_embeddings, self.embedding_dim = vocabulary_size, width

    def _tail(self, band: int) -> tuple[nn.Linear, nn.Linear]:
        """P_b and W_b of a band from 1 on."""
        tail = cast(nn.Sequential, self.softmax.tail[band - 1])
        return cast(nn.Linear, tail[0]), cast(nn.Linear, tail[1])

    def start(self, std: float) -> None:
        """Normal weights under which the logits of every band vary alike, for states of unit mean square or features
        of half that. `std`: of the table of the commonest tokens.
        """
        nn.init.normal_(self.softmax.head.weight, std=std)
        for band in range(1, len(self.bounds) - 1):
            narrow, table = self._tail(band)
            nn.init.normal_(narrow.weight, std=narrow.out_features**-0.5)  # |P h|^2 is |h|^2 in the mean
            nn.init.normal_(table.weight, std=std)

    def tables(self) -> list[Tensor]:
        """W_b of all bands: a row for each token, and in W_0 one for each other band."""
        return [self.softmax.head.weight, *(self._tail(band)[1].weight for band in range(1, len(self.bounds) - 1))]

    def band_maps(self) -> list[Tensor]:
        """P_b of the bands from 1 on."""
        return [self._tail(band)[0].weight for band in range(1, len(self.bounds) - 1)]

    def readouts(self) -> list[Tensor]:
        """An untied readout, which may take a rate of its own."""
        return self.tables()

    def head(self, seen: Tensor) -> Tensor:
        """Logits (..., size of band 0 + further bands) of states (..., D)."""
        return widened(self.softmax.head(seen))

    def nats(self, seen: Tensor, targets: Tensor) -> Tensor:
        """Loss in nats (...) of targets (...) int64, 0 where one is -100, from states (..., D).

        As torch's module has it; here also where a batch has no token of a band, whose parameters then have a gradient
        of zero, as training on several devices asks.
        """
        largest = max(self.softmax.head.out_features, *(high - low for low, high in pairwise(self.bounds[1:])))
        return in_chunks(self._nats, seen, targets, largest)

    def _nats(self, h: Tensor, y: Tensor) -> Tensor:
        """The same for states (t, D) and targets (t,), all at once."""
        first = self.bounds[1]
        real = y != IGNORE
        wanted = y.where(real, 0)
        band = torch.bucketize(wanted, torch.tensor(self.bounds[1:-1], device=y.device), right=True)
        head = torch.log_softmax(self.head(h), dim=-1)
        log_p = head.gather(1, wanted.where(band == 0, first + band - 1)[:, None]).squeeze(1)
        for b in range(1, len(self.bounds) - 1):
            rows = (band == b).nonzero().squeeze(1)
            within = torch.log_softmax(widened(self.softmax.tail[b - 1](h[rows])), dim=-1)
            log_p = log_p.index_add(0, rows, within.gather(1, (wanted[rows] - self.bounds[b])[:, None]).squeeze(1))
        return -log_p.where(real, 0.0)

    def log_prob(self, seen: Tensor) -> Tensor:
        """Log-probabilities (..., V) of states (..., D)."""
        return self.softmax.log_prob(seen.flatten(0, -2)).unflatten(0, seen.shape[:-1])


class TiedBands(Bands):
    """The embedding too, of the same tables and maps: tokens (...) int64 -> states (..., D)."""

    def readouts(self) -> list[Tensor]:
        """None: the tables are those of the embedding."""
        return []

    def embeddings(self) -> list[Tensor]:
        """The vectors of the tokens, which take the rate of learned phases."""
        return self.tables()

    def undecayed(self) -> list[Tensor]:
        """Parameters that weight decay must leave alone."""
        return self.tables()

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (...) int64 -> (..., D)."""
        return gathered(tokens, self.bounds, self._vectors)

    def _vectors(self, band: int, tokens: Tensor) -> Tensor:
        if band == 0:
            return F.embedding(tokens, self.softmax.head.weight)
        narrow, table = self._tail(band)
        return F.linear(F.embedding(tokens, table.weight), narrow.weight.t())
