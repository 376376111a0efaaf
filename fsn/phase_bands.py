"""Adaptive input embedding of phases, for a vocabulary of words: our choice, after Baevski & Auli (arXiv 1809.10853).

A word of a rare band b has d_b phases phi. They are read as all phases of the network are, through their features, and
the d phases of its state are increments that are linear in these: theta = U_b [cos phi, sin phi]. So phi lies on a
torus of its own, and theta does not change when a phase of it goes round once.

Legend: V vocabulary, d phases of a state, d_b phases of a word of band b, U_b (d, 2 d_b).
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

from torch import Tensor, nn

from fsn.phases import features
from synchrony_blocks.adaptive import checked_cutoffs, gathered


class PhaseBands(nn.Module):
    """tokens (...) int64 -> theta (..., d) in rad. `spread` (d,): phases start within +-pi spread, in rare bands with
    the same variance. Raises ValueError as of `checked_cutoffs`.
    """

    def __init__(self, spread: Tensor, vocabulary_size: int, cutoffs: Sequence[int], div_value: int = 4) -> None:
        super().__init__()
        n_phases = len(spread)
        self.bounds = checked_cutoffs(cutoffs, vocabulary_size, n_phases, div_value)
        self.num_embeddings, self.embedding_dim = vocabulary_size, n_phases
        sizes = [high - low for low, high in pairwise(self.bounds)]
        self.table = nn.ModuleList(nn.Embedding(size, n_phases // div_value**b) for b, size in enumerate(sizes))
        self.map = nn.ModuleList(
            nn.Linear(2 * (n_phases // div_value**b), n_phases, bias=False) for b in range(1, len(sizes))
        )
        for table in self.tables():
            nn.init.uniform_(table, -math.pi, math.pi)
        spread = spread.to(self.tables()[0].device)
        self.tables()[0].data *= spread
        for U in self.band_maps():
            # A feature has a mean square of 1/2, and a phase that is uniform in +-pi spread one of (pi spread)^2 / 3.
            nn.init.normal_(U, std=(3 * U.shape[1] / 2) ** -0.5 * math.pi)
            U.data *= spread[:, None]

    def tables(self) -> list[Tensor]:
        """phi of all bands, a row for each token."""
        return [cast(nn.Embedding, table).weight for table in self.table]

    def embeddings(self) -> list[Tensor]:
        """The phases of the tokens, which take the rate of learned phases."""
        return self.tables()

    def undecayed(self) -> list[Tensor]:
        """Parameters that weight decay must leave alone: zero is no special place for a phase."""
        return self.tables()

    def band_maps(self) -> list[Tensor]:
        """U_b of the bands from 1 on."""
        return [cast(nn.Linear, U).weight for U in self.map]

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (...) int64 -> theta (..., d)."""
        return gathered(tokens, self.bounds, self._phases)

    def _phases(self, band: int, tokens: Tensor) -> Tensor:
        phi = self.table[band](tokens)
        return phi if band == 0 else self.map[band - 1](features(phi).joined())
