"""What ended the run: each process watches the others, reports its own failure and sees theirs.

A thread of each process writes to the store of the run how many collectives it has entered. A rank that is behind the
others, or writes nothing, is the one that they wait for. A rank that fails writes its error, so that all can say what
ended the run instead of what followed from that.
"""

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence

import torch.distributed as dist

from configs.errors import UserError
from training.processes.children import Children
from training.processes.launcher import Place
from training.signals import Interrupted

BEAT = 1.0  # seconds between what a process writes
SILENT = 10.0  # seconds without that, and the process is dead when a collective has failed
LATE = 30.0  # seconds before the others are told whom they wait for
GRACE = 15.0  # seconds for a process to end by itself after another one died


class RankDied(UserError):
    """Another process of the run died, or did not come in time: one line that names it.

    `its_own`: by an error that it told, which would come again; false where it was killed, hung or could not be
    reached, which says nothing of the run.
    """

    exit_code = 1

    def __init__(self, line: str, its_own: bool = False) -> None:
        super().__init__(line)
        self.its_own = its_own


class Watch:
    """The other processes of a run, seen from one of them. `timeout`: seconds that a rank is waited for.

    `groups`: torch's process groups, whose collectives are counted; empty until these are made.
    """

    def __init__(self, place: Place, timeout: float, children: Children) -> None:
        self.place = place
        self.timeout = timeout
        self.children = children
        self.groups: list[dist.ProcessGroup] = []
        self.failing = False  # this process knows that the run fails, and is about to end
        self.at_forced_end: Callable[[RankDied], None] = lambda death: None
        self._seen: dict[int, tuple[bytes, float]] = {}  # what each rank wrote last, and since when
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, store: dist.PrefixStore) -> None:
        """Begin to watch, through a connection to the store of the thread's own."""
        self._thread = threading.Thread(target=self._watch, args=(store,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let the thread end: from now on nobody is missed."""
        self._ended.set()

    def join(self) -> None:
        """Wait for the end of the thread."""
        if self._thread is not None:
            self._thread.join()

    @property
    def _main(self) -> bool:
        return self.place.rank == 0

    def tell(self, store: dist.Store, error: BaseException) -> None:
        """Write what this process failed of, unless that follows from the end of another one."""
        if of_a_collective(error):
            return
        told = isinstance(error, Interrupted | UserError)  # in words
        code = error.exit_code if isinstance(error, Interrupted | UserError) else 1
        line = first_line(error) if told else f"{type(error).__name__}: {first_line(error)}"
        with contextlib.suppress(dist.DistError):
            n = store.add("failures", 1)
            store.set(f"failure/{n}", json.dumps([self.place.rank, code, line]))

    def failed(self, store: dist.Store) -> BaseException | None:
        """The first failure that a rank told, or that its parent sees."""
        try:
            if store.check(["failure/1"]):
                rank, code, line = json.loads(store.get("failure/1"))
                if code > 128:
                    return Interrupted(code - 128)
                return UserError(f"rank {rank}: {line}") if code == 2 else RankDied(f"rank {rank} died: {line}", True)
        except dist.DistError:
            return self.lost()
        dead = self.children.dead()
        return None if dead is None else RankDied(f"rank {dead[0]} died: {dead[1]}", "killed by" not in dead[1])

    def lost(self) -> RankDied:
        """Of whoever holds the store, which does not answer."""
        who = "torchrun" if self.place.agent_store else "rank 0"
        return RankDied(f"{who} died: nothing answers at {self.place.address}:{self.place.port} any more")

    def silent(self) -> BaseException | None:
        """The first rank that has written nothing for long."""
        for rank, (_, since) in sorted(self._seen.items()):
            if rank != self.place.rank and time.monotonic() - since > SILENT:
                return RankDied(f"rank {rank} died without a word: it was killed, or its machine is gone")
        return None

    def _watch(self, store: dist.PrefixStore) -> None:
        """Tell where this process is, see where the others are; end it where they are waited for in vain."""
        began = time.monotonic()
        beats, moved, told, failing = 0, began, 0.0, None
        before: dict[int, int] = {}
        keys = [f"beat/{rank}" for rank in range(self.place.size)]
        while not self._ended.wait(BEAT):
            beats += 1
            try:
                store.set(keys[self.place.rank], f"{beats} {self._entered()}")
                here = [key for key in keys if store.check([key])]
                values = store.multi_get(here)
            except dist.DistError:
                if not self._ended.wait(GRACE):
                    self._end(self.lost())
                return
            now = time.monotonic()
            for key, value in zip(here, values, strict=True):
                rank = int(key.rpartition("/")[2])
                if self._seen.get(rank, (b"", 0.0))[0] != value:
                    self._seen[rank] = value, now
            entered = {rank: int(value.split()[1]) for rank, value in enumerate(values)}
            if entered != before:
                before, moved, told = entered, now, 0.0
            if self.failing or not self.groups:
                continue
            failed = self.failed(store)
            # After a signal all stop together, and may write long.
            if failed is None or isinstance(failed, Interrupted):
                failing = None
            else:
                failing = failing or now
                if now - failing > GRACE:
                    self._end(failed if isinstance(failed, RankDied) else RankDied(str(failed), True))
            soon, waited = min(LATE, self.timeout / 2), now - moved
            late = [r for r, n in entered.items() if n < max(entered.values()) or now - self._seen[r][1] > soon]
            if late and waited > self.timeout + (0 if self._main else GRACE / 3):  # rank 0 first: it keeps the record
                who = f"{named(late)} did not come to a collective of all"
                self._end(RankDied(f"{who} within {waited:.0f} s; trainer.timeout={self.timeout:g} is the limit"))
            if late and self._main and waited > soon + told:
                text = f"warning: the others wait for {named(late)}, {waited:.0f} s by now"
                print(f"{text}; after {self.timeout:g} s the run ends", file=sys.stderr, flush=True)
                told = waited + LATE - soon

    def _entered(self) -> int:
        """How many collectives this process has entered."""
        return sum(
            group._get_sequence_number_for_group()  # type: ignore[attr-defined] # torch's stubs lack it
            for group in self.groups
        )

    def _end(self, death: RankDied) -> None:
        """End this process, whose main thread waits for another one and cannot be woken."""
        if self._main:
            with contextlib.suppress(Exception):
                self.at_forced_end(death)
            print(f"error: {death}", file=sys.stderr, flush=True)
        self.children.kill()
        os._exit(1)


def of_a_collective(error: BaseException) -> bool:
    """Whether an error is how a process learns that another one is gone."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def first_line(error: BaseException) -> str:
    """What is said of an error; torch's go on for pages."""
    return str(error).strip().partition("\n")[0]


def named(ranks: Sequence[int]) -> str:
    """rank 1, or ranks 1, 2."""
    return ("rank " if len(ranks) == 1 else "ranks ") + ", ".join(map(str, ranks))
