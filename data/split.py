"""A run of tokens, and how it reads as text: the token that it follows, and the bytes that each token stands for."""

from dataclasses import dataclass, field, replace

import numpy as np

from data.mapped_file import MappedFile

IGNORE = -100  # target where nothing is to be predicted; torch's cross entropy skips it by default
NEWLINE = 10  # as a byte: a split is taken to follow one


@dataclass(frozen=True, eq=False)
class Split:
    """Tokens (n,) of an unsigned type. By default a token is a byte of text, of which there are `singles`."""

    tokens: np.ndarray
    follows: int = NEWLINE  # the token before the first
    token_bytes: np.ndarray | None = None  # (V,) bytes of text that each token stands for; None: one
    singles: int = 256  # V where each token stands for one byte
    file: MappedFile | None = field(default=None, repr=False)  # that the tokens lie in; None: in memory

    def __len__(self) -> int:
        return len(self.tokens)

    def require_whole(self) -> None:
        """UserError when the file of the tokens was cut or changed: to be called before they are read."""
        if self.file is not None:
            self.file.require_unchanged()

    def __getitem__(self, places: slice) -> "Split":
        return replace(self, tokens=self.tokens[places])

    @property
    def vocabulary_size(self) -> int:
        """V."""
        return self.singles if self.token_bytes is None else len(self.token_bytes)

    def bytes_of(self, tokens: np.ndarray) -> np.ndarray:
        """The bytes of text behind each of `tokens`, of the same shape, int64."""
        return (
            np.ones(tokens.shape, np.int64) if self.token_bytes is None else self.token_bytes[tokens].astype(np.int64)
        )

    def n_bytes(self, start: int = 0, stop: int | None = None) -> int:
        """Bytes of text behind tokens start .. stop - 1."""
        tokens = self.tokens[start:stop]
        return len(tokens) if self.token_bytes is None else int(self.bytes_of(tokens).sum())

    def first_bytes(self, n_bytes: int | None) -> "Split":
        """The tokens that lie wholly within the first `n_bytes` of the text, at least one; all of them for None."""
        if n_bytes is None:
            return self
        if self.token_bytes is None:
            return self[:n_bytes]
        ends = self.bytes_of(self.tokens).cumsum()
        return self[: max(1, int(np.searchsorted(ends, n_bytes, side="right")))]
