"""What decoding remembers: buffers of tokens that are not copied for every new one, and rows that beam search picks.

Legend: B rows of a batch, t tokens so far, E width of an entry.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

FIRST = 16  # tokens that a new buffer has room for (our choice)


class TokenBuffer:
    """Entries (B, ..., t, E) of the tokens so far, in memory with room for more: doubled when it is full.

    No gradient passes through it.
    """

    def __init__(self, empty: Tensor) -> None:
        """`empty` (B, ..., 0, E) tells shape, dtype and device."""
        self.length = 0
        self._data = empty.new_empty(*empty.shape[:-2], FIRST, empty.shape[-1])

    @property
    def batch(self) -> int:
        """B."""
        return len(self._data)

    @property
    def seen(self) -> Tensor:
        """What is there (B, ..., t, E): a view, which the next `append` leaves as it is."""
        return self._data[..., : self.length, :]

    @torch.no_grad()
    def reserve(self, n_tokens: int) -> None:
        """Make room for so many tokens in all, those that are there among them."""
        if n_tokens > self._data.shape[-2]:
            more = self._data.new_empty(*self._data.shape[:-2], n_tokens, self._data.shape[-1])
            more[..., : self.length, :] = self.seen
            self._data = more

    @torch.no_grad()
    def append(self, new: Tensor) -> Tensor:
        """Take the entries of one token or more (B, ..., n, E); `seen` with them."""
        end = self.length + new.shape[-2]
        room = self._data.shape[-2]
        self.reserve(max(end, 2 * room) if end > room else end)
        self._data[..., self.length : end, :] = new
        self.length = end
        return self.seen

    def fill(self, first: Tensor) -> None:
        """Take the entries (B, ..., n, E) of the first tokens. ValueError where there are some already, or for another
        batch: one row would be written into all of them.
        """
        check_empty(self.length)
        if len(first) != self.batch:
            raise ValueError(f"the prompt has a batch of {len(first)} and the cache one of {self.batch}")
        self.append(first)

    @torch.no_grad()
    def select(self, rows: Sequence[int]) -> "TokenBuffer":
        """A buffer of the rows `rows`, which may repeat. If they are no more than there are it takes the memory of
        this one, and only rows that another takes the place of are written.
        """
        other = TokenBuffer.__new__(TokenBuffer)
        other.length, other._data = self.length, self._data[: len(rows)]
        if len(rows) > self.batch:
            other._data = self._data.index_select(0, torch.tensor(rows, device=self._data.device))
            return other
        changed = [place for place, row in enumerate(rows) if row != place]
        places = torch.tensor([changed, [rows[at] for at in changed]], dtype=torch.int64, device=self._data.device)
        other.seen.index_copy_(0, places[0], self.seen[places[1]])
        return other


def check_empty(n_tokens: int) -> None:
    """ValueError for a cache that has `n_tokens` already, where the first ones are to be read in one pass."""
    if n_tokens:
        raise ValueError(f"the cache has {n_tokens} tokens already: give prefill a new one, or take step")


def check_own(cache: dict[str, Any]) -> None:
    """ValueError for the cache of a memory, which is all there and reads no prompt."""
    if isinstance(cache, MemoryCache):
        raise ValueError("this cache is of a memory, which is all there: take step for each token that attends to it")


class MemoryCache(dict[str, Any]):
    """What a cross-attention keeps of an encoder's states, by name, and which of its rows each row came from.

    Rows that were picked within one sentence, as a beam's are, have the same memory: it is then not copied.
    """

    def __init__(self, batch: int, **entries: Any) -> None:
        super().__init__(entries)
        self.sentences = list(range(batch))

    def select(self, index: Tensor, rows: Sequence[int]) -> "MemoryCache":
        """The cache of the rows `index` (B',) int64, which are `rows` as numbers."""
        sentences = [self.sentences[row] for row in rows]
        same = sentences == self.sentences
        other = MemoryCache(0, **{name: x if same else _reorder(x, index, rows) for name, x in self.items()})
        other.sentences = sentences
        return other


def reserve(cache: Any, n_tokens: int) -> None:
    """Make room in every buffer of a cache for so many tokens in all, so that none is copied as it grows."""
    if isinstance(cache, TokenBuffer):
        cache.reserve(n_tokens)
    elif isinstance(cache, dict | list | tuple):
        for part in cache.values() if isinstance(cache, dict) else cache:
            reserve(part, n_tokens)


def reorder(cache: Any, index: Tensor) -> Any:
    """The cache of the rows `index` (B',) int64 of `cache`, which may repeat: what beam search goes on with.

    `cache` is what `init_cache` or `step` of a language model, a translator or a layer gives: buffers and tensors
    whose first dimension is the rows, in dicts, lists and tuples. What stays as it is is not copied, so the old cache
    must not be used any more. Raises IndexError for a row that is not there.
    """
    return _reorder(cache, index, index.tolist())


def _reorder(x: Any, index: Tensor, rows: Sequence[int]) -> Any:
    if isinstance(x, MemoryCache):
        return x.select(index, rows)
    if isinstance(x, dict):
        return {name: _reorder(value, index, rows) for name, value in x.items()}
    if isinstance(x, TokenBuffer):
        return x if _in_place(x.batch, rows) else x.select(rows)
    if isinstance(x, Tensor):
        return x if _in_place(len(x), rows) else x.index_select(0, index)
    if isinstance(x, list):
        return [_reorder(value, index, rows) for value in x]
    if isinstance(x, tuple):
        parts = [_reorder(value, index, rows) for value in x]
        return type(x)(*parts) if hasattr(x, "_fields") else tuple(parts)
    return x


def _in_place(batch: int, rows: Sequence[int]) -> bool:
    return batch == len(rows) and all(row == place for place, row in enumerate(rows))
