"""The processes of a run together: they meet, agree on what they train, watch each other, and end together.

They meet at torch's TCPStore, which rank 0 holds (under torchrun its agent). What they see of each other there, and say
of the end of one, is in `watch`.
"""

import contextlib
import json
import socket
import sys
import time
from collections.abc import Sequence
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
from training.processes.watch import BEAT, GRACE, LATE, RankDied, Watch, first_line, named, of_a_collective
from training.signals import Interrupted

MEETING = 600.0  # seconds for all processes to come, at least

_external: dict[Place, dist.TCPStore] = {}  # held as long as the process: a launcher's processes may train many runs
_runs = 0  # that this process of a launcher has begun


class Group:
    """All processes of a run, seen from one of them. Of a run of one process every method does nothing.

    As a context manager it brings the others down when one fails. `timeout`: seconds that a rank is waited for.
    """

    def __init__(self, place: Place, timeout: float) -> None:
        self.place = place
        self.timeout = timeout
        self.children = Children()
        self.host: dist.ProcessGroup | None = None  # between the hosts, not through the devices
        self.watch = Watch(place, timeout, self.children)
        self._run = 0
        self._patient = False  # rank 0 may take any time to leave
        self._store: dist.PrefixStore | None = None
        self._server: dist.TCPStore | None = None

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
                if self._store is not None:
                    self.watch.tell(self._store, error)
                self.children.kill()
                self._linger()
            elif self._store is not None:
                with contextlib.suppress(UserError, Interrupted):  # rank 0 leaves last, because it holds the store
                    self._exchange("left", {}, None if self._patient else max(MEETING, self.timeout))
            self.children.wait()
        finally:
            self.watch.stop()
            if dist.is_initialized():
                dist.destroy_process_group()
            self.watch.join()
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
        self.place = self.watch.place = replace(self.place, port=self._server.port)
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
        """Compare this config with what the other processes are about to train: one UserError that names rank and
        difference.

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
            timeout=timedelta(seconds=self.timeout + GRACE),  # the line of `watch` comes first
            device_id=device,
        )
        everyone = dist.group.WORLD
        assert everyone is not None
        self.host = dist.new_group(backend="gloo") if kind == "cuda" else everyone
        self.watch.groups = [everyone, self.host] if kind == "cuda" else [everyone]

    # Ending

    def cause(self, error: BaseException) -> BaseException:
        """What ended the run: `error`, or the end of another rank that it follows from."""
        if self._store is None:
            return error
        self.watch.failing = True
        if not of_a_collective(error):
            self.watch.tell(self._store, error)
            return error
        until = time.monotonic() + GRACE
        while time.monotonic() < until:
            if (found := self.watch.failed(self._store) or self.watch.silent()) is not None:
                return found
            time.sleep(BEAT / 5)
        return RankDied(f"a collective failed, and every rank is there: {first_line(error)}")

    # The store

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
        self.watch.start(self._named(server.clone()))  # type: ignore[attr-defined] # torch's stubs lack it

    def _named(self, server: dist.Store) -> dist.PrefixStore:
        return dist.PrefixStore(f"synchrony/{self.place.attempt}/{self._run}", server)

    def _await_address(self) -> None:
        """Wait until rank 0 listens; torch alone would print much about each try."""
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
        """Wait until all keys are in the store; key/R comes from rank R, any other from rank 0."""
        assert self._store is not None
        began, told = time.monotonic(), 1.5 * LATE  # packages take long to load on a busy machine
        while True:
            try:
                missing = [key for key in keys if not self._store.check([key])]
            except dist.DistError:
                raise self.watch.lost() from None
            if not missing:
                return
            if (failed := self.watch.failed(self._store)) is not None:
                if all(self._store.check([key]) for key in missing):  # it failed of what has come meanwhile
                    return
                raise failed
            waited = time.monotonic() - began
            ranks = named([int(key.rpartition("/")[2]) if "/" in key else 0 for key in missing])
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
