"""The processes of a run together: they meet, agree on what they train, watch each other, and end together.

They meet at torch's TCPStore, which rank 0 holds (under torchrun its agent). A thread of each process writes there how
many collectives it has entered. A rank that is behind the others, or writes nothing, is the one that they wait for. A
rank that fails writes its error, so that all can say what ended the run instead of what followed from that.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.utilities import rank_zero_only

from configs.errors import UserError
from configs.schema import RunConfig
from training.processes.children import Children
from training.processes.launcher import Place
from training.signals import Interrupted

BEAT = 1.0  # seconds between what a process writes
SILENT = 10.0  # seconds without that, and the process is dead when a collective has failed
LATE = 30.0  # seconds before the others are told whom they wait for
GRACE = 15.0  # seconds for a process to end by itself after another one died
MEETING = 600.0  # seconds for all processes to come, at least

_external: dict[Place, dist.TCPStore] = {}  # held as long as the process: a launcher's processes may train many runs
_runs = 0  # that this process of a launcher has begun


class RankDied(UserError):
    """Another process of the run died, or was waited for in vain: one line that names it.

    `its_own`: by an error that it told, which would come again; false where it was killed, hung or could not be
    reached, which says nothing of the run.
    """

    exit_code = 1

    def __init__(self, line: str, its_own: bool = False) -> None:
        super().__init__(line)
        self.its_own = its_own


class Group:
    """All processes of a run, seen from one of them. Of a run of one process every method does nothing.

    As a context manager it brings the others down when one fails. `timeout`: seconds that a rank is waited for.
    """

    def __init__(self, place: Place, timeout: float) -> None:
        self.place = place
        self.timeout = timeout
        self.children = Children()
        self.host: dist.ProcessGroup | None = None  # between the hosts, not through the devices
        self.at_forced_end: Callable[[RankDied], None] = lambda death: None
        self._run = 0
        self._patient = False  # rank 0 may take any time to leave
        self._groups: list[dist.ProcessGroup] = []
        self._store: dist.PrefixStore | None = None
        self._server: dist.TCPStore | None = None
        self._seen: dict[int, tuple[bytes, float]] = {}  # what each rank wrote last, and since when
        self._ended = threading.Event()
        self._failing = False  # this process knows that the run fails, and is about to end
        self._watching: threading.Thread | None = None

    @property
    def main(self) -> bool:
        """Whether this process speaks for the run and writes its files."""
        return self.place.rank == 0

    def __enter__(self) -> "Group":
        rank_zero_only.rank = self.place.rank  # type: ignore[attr-defined]  # Lightning took it from the environment
        if self.place.external or not self.main:
            self._open()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is not None:
                self._tell_error(error)
                self.children.kill()
                self._linger()
            elif self._store is not None:
                with contextlib.suppress(UserError, Interrupted):  # rank 0 leaves last, because it holds the store
                    self._exchange("left", {}, None if self._patient else max(MEETING, self.timeout))
            self.children.wait()
        finally:
            self._ended.set()
            if dist.is_initialized():
                dist.destroy_process_group()
            if self._watching is not None:
                self._watching.join()
            self._store = self._server = None

    def _linger(self) -> None:
        """Let processes that rank 0 cannot kill read the error from its store."""
        if self._store is None or not self.place.external or self.place.agent_store:
            return
        until = time.monotonic() + (GRACE if self.main else 0)
        keys = [f"left/{rank}" for rank in range(self.place.size)]
        with contextlib.suppress(dist.DistError):
            self._store.set(keys[self.place.rank], "{}")
            while time.monotonic() < until and not self._store.check(keys):
                time.sleep(BEAT / 10)

    # Meeting

    def start(self, config: RunConfig) -> None:
        """Start the other processes, unless a launcher has."""
        if self.place.size == 1 or self.place.external:
            return
        self._open()
        assert self._server is not None
        self.place = replace(self.place, port=self._server.port)
        self.children.start(config, self.place)

    def tell(self, what: dict[str, Any]) -> None:
        """What rank 0 has decided, for `told` of the others."""
        if self._store is not None:
            self._store.set("told", json.dumps(what))

    def told(self) -> dict[str, Any]:
        """What rank 0 has decided. Raises as `agree` does when rank 0 has failed."""
        self._await(["told"], limit=None)
        assert self._store is not None
        what: dict[str, Any] = json.loads(self._store.get("told"))
        self._patient = what.get("done", False)
        return what

    def agree(self, ours: dict[str, Any]) -> None:
        """Compare with what the other processes are about to train: one UserError that names rank and difference.

        `ours` by what a user calls it; where it has `error`, this process cannot train, and all of them end with that.
        Raises RankDied for a rank that does not come.
        """
        if self._store is None:
            return
        everyone = self._exchange("trains", ours, max(MEETING, self.timeout))
        wrong = [f"rank {rank}: {theirs['error']}" for rank, theirs in enumerate(everyone) if "error" in theirs]
        if not wrong:
            first = everyone[0]
            for rank, theirs in enumerate(everyone):
                keys = [key for key in first | theirs if first.get(key) != theirs.get(key)]
                parts = [f"{key} is {theirs.get(key)} there and {first.get(key)} in rank 0" for key in keys]
                if parts:
                    more = f" and {len(parts) - 3} more" if len(parts) > 3 else ""
                    wrong.append(f"rank {rank} trains something else: {', '.join(parts[:3])}{more}")
        if wrong:
            raise UserError("; ".join(wrong))

    def connect(self, kind: str) -> None:
        """Make torch's process group, for devices of a `kind` (cpu | cuda); none for one process."""
        place = self.place
        if self._store is None:
            return
        store = dist.PrefixStore("torch", self._store)
        device = torch.device("cuda", place.local_rank) if kind == "cuda" else None
        if device is not None:
            torch.cuda.set_device(device)
        dist.init_process_group(
            "nccl" if kind == "cuda" else "gloo",
            store=store,
            rank=place.rank,
            world_size=place.size,
            timeout=timedelta(seconds=self.timeout + GRACE),  # the line of `_watch` comes first
            device_id=device,
        )
        everyone = dist.group.WORLD
        assert everyone is not None
        self.host = dist.new_group(backend="gloo") if kind == "cuda" else everyone
        self._groups = [everyone, self.host] if kind == "cuda" else [everyone]

    # Ending

    def cause(self, error: BaseException) -> BaseException:
        """What ended the run: `error`, or the end of another rank that it follows from."""
        if self._store is None:
            return error
        self._failing = True
        if not _of_a_collective(error):
            self._tell_error(error)
            return error
        until = time.monotonic() + GRACE
        while time.monotonic() < until:
            if (found := self._failed(self._store) or self._silent()) is not None:
                return found
            time.sleep(BEAT / 5)
        return RankDied(f"a collective failed, and every rank is there: {_first_line(error)}")

    def _tell_error(self, error: BaseException) -> None:
        if self._store is None or _of_a_collective(error):
            return
        told = isinstance(error, Interrupted | UserError)  # in words
        code = error.exit_code if isinstance(error, Interrupted | UserError) else 1
        line = _first_line(error) if told else f"{type(error).__name__}: {_first_line(error)}"
        with contextlib.suppress(dist.DistError):
            n = self._store.add("failures", 1)
            self._store.set(f"failure/{n}", json.dumps([self.place.rank, code, line]))

    def _failed(self, store: dist.Store) -> BaseException | None:
        """The first failure that a rank told, or that its parent sees."""
        try:
            if store.check(["failure/1"]):
                rank, code, line = json.loads(store.get("failure/1"))
                if code > 128:
                    return Interrupted(code - 128)
                return UserError(f"rank {rank}: {line}") if code == 2 else RankDied(f"rank {rank} died: {line}", True)
        except dist.DistError:
            return self._lost()
        dead = self.children.dead()
        return None if dead is None else RankDied(f"rank {dead[0]} died: {dead[1]}", "killed by" not in dead[1])

    def _lost(self) -> RankDied:
        who = "torchrun" if self.place.agent_store else "rank 0"
        return RankDied(f"{who} died: nothing answers at {self.place.address}:{self.place.port} any more")

    def _silent(self) -> BaseException | None:
        for rank, (_, since) in sorted(self._seen.items()):
            if rank != self.place.rank and time.monotonic() - since > SILENT:
                return RankDied(f"rank {rank} died without a word: it was killed, or its machine is gone")
        return None

    # Watching

    def _open(self) -> None:
        global _runs
        place = self.place
        if place.external:  # its processes count their runs alike; a child knows one
            _runs += 1
            self._run = _runs
        holds = place.rank == 0 and not place.agent_store
        server = _external.get(place)
        if server is None:
            if not holds:
                self._await_address()
            server = dist.TCPStore(place.address, place.port, is_master=holds, wait_for_workers=False)
            if place.external:
                _external[place] = server
        self._server = server
        self._store = self._named(server)
        self._store.set(f"beat/{place.rank}", "0 0")
        own = server.clone()  # type: ignore[attr-defined] # torch's stubs lack it
        self._watching = threading.Thread(target=self._watch, args=(self._named(own),), daemon=True)
        self._watching.start()

    def _named(self, server: dist.Store) -> dist.PrefixStore:
        return dist.PrefixStore(f"synchrony/{self.place.attempt}/{self._run}", server)

    def _await_address(self) -> None:
        """Until rank 0 listens; torch says more, of each try, than one wants to read."""
        place, began, told = self.place, time.monotonic(), LATE
        limit = max(MEETING, self.timeout)
        while True:
            try:
                socket.create_connection((place.address, place.port), 5).close()
                return
            except OSError as error:
                waited = time.monotonic() - began
                if waited > limit:
                    raise RankDied(f"rank 0 was not found at {place.address}:{place.port}: {error}") from None
                if waited > told:
                    text = f"warning: rank {place.rank} waits for rank 0 at {place.address}:{place.port}"
                    print(f"{text}, {waited:.0f} s by now; after {limit:.0f} s it ends", file=sys.stderr, flush=True)
                    told += 2 * LATE
                time.sleep(BEAT / 5)

    def _await(self, keys: Sequence[str], limit: float | None) -> None:
        """Until all keys are in the store; key/R comes from rank R, any other from rank 0."""
        assert self._store is not None
        began, told = time.monotonic(), 1.5 * LATE  # packages take long to load on a busy machine
        while True:
            try:
                missing = [key for key in keys if not self._store.check([key])]
            except dist.DistError:
                raise self._lost() from None
            if not missing:
                return
            if (failed := self._failed(self._store)) is not None:
                if all(self._store.check([key]) for key in missing):  # it failed of what has come meanwhile
                    return
                raise failed
            waited = time.monotonic() - began
            ranks = _ranks([int(key.rpartition("/")[2]) if "/" in key else 0 for key in missing])
            if limit is not None and waited > limit:
                raise RankDied(f"{ranks} did not come within {limit:.0f} s")
            if waited > told and self.main:
                print(f"warning: {waited:.0f} s after rank 0 it still waits for {ranks}", file=sys.stderr, flush=True)
                told += 2 * LATE
            time.sleep(BEAT / 10)

    def _exchange(self, name: str, ours: dict[str, Any], limit: float | None) -> list[dict[str, Any]]:
        """What every rank gives, by rank: an all-gather through the store, which needs no device. `limit`: seconds."""
        assert self._store is not None
        keys = [f"{name}/{rank}" for rank in range(self.place.size)]
        self._store.set(keys[self.place.rank], json.dumps(ours))
        self._await(keys, limit)
        return [json.loads(value) for value in self._store.multi_get(keys)]

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
                    self._end(self._lost())
                return
            now = time.monotonic()
            for key, value in zip(here, values, strict=True):
                rank = int(key.rpartition("/")[2])
                if self._seen.get(rank, (b"", 0.0))[0] != value:
                    self._seen[rank] = value, now
            entered = {rank: int(value.split()[1]) for rank, value in enumerate(values)}
            if entered != before:
                before, moved, told = entered, now, 0.0
            if self._failing or self.host is None:
                continue
            failed = self._failed(store)
            # After a signal all stop together, and may write long.
            if failed is None or isinstance(failed, Interrupted):
                failing = None
            else:
                failing = failing or now
                if now - failing > GRACE:
                    self._end(failed if isinstance(failed, RankDied) else RankDied(str(failed), True))
            soon, waited = min(LATE, self.timeout / 2), now - moved
            late = [r for r, n in entered.items() if n < max(entered.values()) or now - self._seen[r][1] > soon]
            if late and waited > self.timeout + (0 if self.main else GRACE / 3):  # rank 0 first: it keeps the record
                who = f"{_ranks(late)} did not come to a collective of all"
                self._end(RankDied(f"{who} within {waited:.0f} s; trainer.timeout={self.timeout:g} is the limit"))
            if late and self.main and waited > soon + told:
                text = f"warning: the others wait for {_ranks(late)}, {waited:.0f} s by now"
                print(f"{text}; after {self.timeout:g} s the run ends", file=sys.stderr, flush=True)
                told = waited + LATE - soon

    def _entered(self) -> int:
        """How many collectives this process has entered."""
        return sum(
            group._get_sequence_number_for_group()  # type: ignore[attr-defined] # torch's stubs lack it
            for group in self._groups
        )

    def _end(self, death: RankDied) -> None:
        """End this process, whose main thread waits for another one and cannot be woken."""
        if self.main:
            with contextlib.suppress(Exception):
                self.at_forced_end(death)
            print(f"error: {death}", file=sys.stderr, flush=True)
        self.children.kill()
        os._exit(1)


def _of_a_collective(error: BaseException) -> bool:
    """Whether an error is how a process learns that another one is gone."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


def _ranks(ranks: Sequence[int]) -> str:
    return ("rank " if len(ranks) == 1 else "ranks ") + ", ".join(map(str, ranks))
