"""Buffers of a cache grow without losing anything, and rows of any nesting are picked."""

from typing import NamedTuple

import pytest
import torch

from synchrony_blocks import MemoryCache, TokenBuffer, reorder


def test_a_buffer_holds_what_was_appended_however_long() -> None:
    buffer, seen = TokenBuffer(torch.empty(2, 3, 0, 5, dtype=torch.double)), []
    places = set()
    for n in (1, 1, 14, 1, 1, 40, 1):
        seen.append(torch.randn(2, 3, n, 5, dtype=torch.double))
        assert torch.equal(buffer.append(seen[-1]), torch.cat(seen, dim=2))
        places.add(buffer.seen.data_ptr())
    assert (buffer.length, buffer.batch, buffer.seen.dtype) == (59, 2, torch.double)
    assert len(places) == 3, "it moves only when it is full"


def test_no_gradient_passes_a_buffer() -> None:
    buffer = TokenBuffer(torch.empty(2, 0, 5))
    assert not buffer.append(torch.randn(2, 1, 5, requires_grad=True)).requires_grad


class Pair(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor


def test_rows_are_picked_at_every_depth() -> None:
    x = torch.arange(6.0).view(3, 2)
    buffer = TokenBuffer(torch.empty(3, 0, 2))
    buffer.append(x[:, None])
    cache = [{"buffer": buffer, "of": (x, [Pair(x, x)]), "t": 4, "last": None, "memory": MemoryCache(3, k=x, t=1)}]
    (picked,) = reorder(cache, torch.tensor([2, 0, 2, 1]))
    expected = x[[2, 0, 2, 1]]
    pair = picked["of"][1][0]
    assert isinstance(pair, Pair) and isinstance(picked["of"], tuple)
    for found in (picked["buffer"].seen[:, 0], picked["of"][0], *pair, picked["memory"]["k"]):
        assert torch.equal(found, expected)
    assert (picked["t"], picked["last"], picked["memory"]["t"]) == (4, None, 1)
    picked["buffer"].append(torch.ones(4, 1, 2))
    assert buffer.length == 1, "the rows that were picked have a length of their own"
    with pytest.raises(IndexError):
        reorder(cache, torch.tensor([3]))


def test_a_memory_is_copied_only_for_rows_of_other_sentences() -> None:
    memory = MemoryCache(2, k=torch.randn(2, 3), t=0)
    beam = reorder(memory, torch.tensor([0, 0, 1, 1]))
    assert torch.equal(beam["k"], memory["k"][[0, 0, 1, 1]])
    moved = reorder(beam, torch.tensor([1, 1, 3, 2]))
    assert moved["k"] is beam["k"]
    moved["t"] += 1
    assert beam["t"] == 0
    assert torch.equal(reorder(moved, torch.tensor([2, 1, 3, 3]))["k"], memory["k"][[1, 0, 1, 1]])


@pytest.mark.parametrize("rows", ([0, 1, 2, 3], [0, 1], [1, 0, 3, 2], [3, 3, 3, 3], [2, 3], [0, 2], [3, 2, 1, 0, 1]))
def test_rows_of_a_buffer_that_has_room_left(rows: list[int]) -> None:
    buffer = TokenBuffer(torch.empty(4, 3, 0, 5))
    seen, new = torch.randn(4, 3, 7, 5), torch.randn(len(rows), 3, 1, 5)
    buffer.append(seen)
    place = buffer.seen.data_ptr()
    picked = reorder(buffer, torch.tensor(rows))
    assert torch.equal(picked.seen, seen[rows]) and picked.batch == len(rows)
    assert (picked.seen.data_ptr() == place) == (len(rows) <= 4), "the memory is taken over where it is enough"
    assert torch.equal(picked.append(new), torch.cat((seen[rows], new), dim=2))
    with pytest.raises(IndexError):
        reorder(buffer, torch.tensor([4, 0]))
