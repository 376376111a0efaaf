"""The unit in which a task reports its loss, and what it counts in a batch."""

from dataclasses import dataclass
from typing import Any

from measures.bits_per_byte import bits_per_byte


@dataclass(frozen=True)
class Unit:
    """Nats per scored symbol: of symbols that are no text. `key`: of a row; `short`, `words`: what it is called."""

    key: str = "nats"
    short: str = "nats/symbol"
    words: str = "nats per scored symbol"

    def losses(self, nats: float, n_targets: int, n_bytes: int) -> dict[str, float]:
        """What a row has of a loss, nats per target."""
        return {"nats": nats}

    def tokens(self, batch: Any) -> int:
        """What a batch adds to the tokens of a run: those that were read."""
        return int(batch.n_tokens)

    def bytes(self, batch: Any) -> int:
        """The bytes of text that a batch's targets stand for."""
        return 0


@dataclass(frozen=True)
class PerByte(Unit):
    """Bits per byte: of text, where every token is a target."""

    key: str = "bits_per_byte"
    short: str = "bits/byte"
    words: str = "bits per byte"

    def losses(self, nats: float, n_targets: int, n_bytes: int) -> dict[str, float]:
        return {"nats": nats, "bits_per_byte": bits_per_byte(nats, n_targets, n_bytes)}

    def tokens(self, batch: Any) -> int:
        return int(batch.n_targets)

    def bytes(self, batch: Any) -> int:
        return int(batch.n_bytes)


BITS_PER_BYTE, NATS_PER_SYMBOL = PerByte(), Unit()


def unit_of(task: str) -> Unit:
    """That of a value of `task`."""
    return NATS_PER_SYMBOL if task == "recall" else BITS_PER_BYTE
