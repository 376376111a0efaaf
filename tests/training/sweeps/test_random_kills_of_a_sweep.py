"""Sweeps that are killed and stopped at random moments and started again: nothing is trained twice, nothing is lost.

Conductor and runs are forks of this process, which spares them the seconds that packages take to load. They announce
what they are about to do and wait to be told to go on, so a moment is a number of events, not of seconds, and an orphan
can be held up while the next conductor works. SYNCHRONY_FUZZ=10 makes ten times as many kills.
"""

import json
import os
import random
import select
import signal
import socket
import sys
import traceback
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

import training.run
from configs.command import cut_off, end_with
from configs.sweeps import combined, expand, requested
from data.file_lock import locked
from training.meter import Meter
from training.run import run
from training.run_record import environment
from training.run_record.record import load_record
from training.run_record.run_directory import run_directory
from training.signals import Interrupted
from training.sweeps import own_process
from training.sweeps.own_process import train_frozen
from training.sweeps.sweep import conduct, state_table
from training.sweeps.swept_run import look

KILLS = 16 * int(os.environ.get("SYNCHRONY_FUZZ", "1"))
STEPS = 6
IDLE = 10.0  # seconds without an event, and what is held up may be what the others wait for
TINY = (f"trainer.max_steps={STEPS}", "trainer.checkpoint_every=1", "trainer.log_every=1", "trainer.val_every=3")
MAY_DIFFER = {"started", "finished", "throughput", "peak_memory_bytes", "command"}  # between two records
# What is killed or stopped, and the exit codes of the conductor then, besides 0 where it had come to its end.
CODES = {"conductor": (-9,), "run": (1,), "all": (-9,), "SIGTERM": (143, -15), "SIGINT twice": (130,)}
SIGNALS = {signal.SIGINT, signal.SIGTERM}
pytestmark = [
    pytest.mark.timeout(900 * max(1, KILLS // 16)),
    pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="sees the end of processes as Linux alone tells it"),
]


def in_child(main, log):
    """What a fork does: the command `main`, in a session of its own, with what it prints in a file."""
    code = 130  # a second SIGINT may come in any line below
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setsid()
        sys.stdout = sys.stderr = open(log, "a", buffering=1)  # noqa: SIM115
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        end_with(main)
    except SystemExit as end:
        code = end.code or 0
    except (KeyboardInterrupt, Interrupted):  # as the interpreter ends, before or after `end_with`
        code = 130
    except BaseException as error:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # so that a second one does not cut off what is told
        code = 130 if cut_off(error) else 99
        traceback.print_exc()
    finally:
        os._exit(code)


def forked(main, log):
    """The number of a process that does `main`; no signal reaches it before its handlers are its own."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    pid = None
    while pid is None:
        with suppress(RuntimeError):  # filelock refuses a fork while another thread locks; a Popen it does not
            pid = os.fork()
    if pid == 0:
        try:
            in_child(main, log)
        finally:  # a second SIGINT may come while `in_child` ends
            os._exit(130)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    return pid


class Fork:
    """What OwnProcesses asks of a process."""

    def __init__(self, pid):
        self.pid = pid

    def send_signal(self, signum):
        with suppress(ProcessLookupError):
            os.kill(self.pid, signum)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def wait(self):
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def announcing(call, stage, what):
    def announced(*arguments, **options):
        stage.announce(what(*arguments) if callable(what) else what)
        return call(*arguments, **options)

    return announced


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Stage:
    """Where conductors and runs announce events, and the test says when they go on."""

    def __init__(self, log):
        self.log = log
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(f"\0synchrony-{os.getpid()}-{log}"[:100])  # of no file: a path may be too long
        self.listener.listen(64)
        self.held = {}  # process -> its connection, while it waits
        self.conductors, self.runs = set(), set()  # their processes
        self.folder = {}  # process -> its run directory
        self.slow, self.patience = set(), 0  # orphans that wait for so many events of others
        self.trainer = {}  # run directory -> the process that trains it
        self.steps = Counter()  # run directory -> steps that were trained

    # In a fork

    def announce(self, what):
        with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
            connection.connect(self.listener.getsockname())
            connection.sendall(json.dumps([os.getpid(), str(what)]).encode())
            connection.recv(1)

    def conduct(self, arguments):
        os.fsync, os.replace = announcing(os.fsync, self, "fsync"), announcing(os.replace, self, "replace")
        Meter.measure = announcing(Meter.measure, self, "step")
        own_process.subprocess = SimpleNamespace(Popen=self.popen, DEVNULL=None)
        training.run.run = announcing(training.run.run, self, run_directory)
        return conduct(requested(arguments))

    def popen(self, command, **_):
        self.announce("start")
        return Fork(forked(lambda: train_frozen(Path(command[-1])), self.log))

    # In the test

    def events(self, conductor=None):
        """The process of each event, which goes on after it; to the end of the conductor, or of all runs."""
        end = os.pidfd_open(conductor) if conductor else None
        try:
            self.patience = self.patience - 10 if conductor else 0  # where all wait for it there is no event
            if self.patience <= 0:
                self.go(*self.slow)
            while conductor or any(map(alive, self.runs)):
                watched = [self.listener, end] if conductor else [self.listener]
                ready = select.select(watched, [], [], IDLE if conductor else 0.1)[0]
                if self.listener in ready:
                    pid = self._accept(conductor)
                    if pid in self.slow and self.patience > 0:
                        continue
                    self.patience -= 1
                    yield pid
                    self.go(pid)
                elif end in ready:
                    return
                if self.patience <= 0 or not ready:
                    self.go(*self.slow)
        finally:
            if end is not None:
                os.close(end)

    def _accept(self, conductor):
        connection = self.listener.accept()[0]
        if not (told := connection.recv(4096)):
            return None  # killed before it said it
        pid, what = json.loads(told)
        self.held[pid] = connection
        if pid != conductor:
            self.runs.add(pid)
        if what.startswith("/"):
            self.folder[pid] = what
        elif what == "step":
            folder = self.folder[pid]
            before = self.trainer.setdefault(folder, pid)
            assert before == pid or not alive(before), "two processes train one run"
            self.trainer[folder] = pid
            self.steps[folder] += 1
        return pid

    def go(self, *pids):
        for pid in pids:
            if connection := self.held.pop(pid, None):
                with connection, suppress(OSError):  # it may be dead
                    connection.sendall(b".")


def strike(how, stage, conductor, chance):
    """A kill of one kind."""
    living = [pid for pid in stage.runs if alive(pid)]
    if how in ("conductor", "all"):
        os.kill(conductor, signal.SIGKILL)
    if how == "all" or (how == "run" and living):
        for pid in living if how == "all" else [chance.choice(living)]:
            os.kill(pid, signal.SIGKILL)
    if how == "conductor":
        stage.slow, stage.patience = set(living), chance.choice((0, chance.randint(1, 80)))
    if how in ("SIGTERM", "SIGINT twice"):
        os.kill(conductor, signal.SIGTERM if how == "SIGTERM" else signal.SIGINT)


def until_killed(stage, arguments, chance, how):
    """Conduct the sweep and strike at a random event; whether it was, or came to its end before."""
    conductor = forked(lambda: stage.conduct(arguments), stage.log)
    stage.conductors.add(conductor)
    at, struck = chance.randint(1, chance.choice((5, 60, 60))), False
    again = at + chance.randint(0, 5) if how == "SIGINT twice" else 0
    for event, pid in enumerate(stage.events(conductor), 1):
        if event == at and how:
            if chance.getrandbits(1):  # not before what it is about to do, but in it
                stage.go(pid)
            strike(how, stage, conductor, chance)
            struck = True
        if event == again:
            os.kill(conductor, signal.SIGINT)
    code = os.waitstatus_to_exitcode(os.waitpid(conductor, 0)[1])
    assert code == 0 or (struck and code in CODES[how]), (how, stage.log.read_text())
    return struck


def without_timing(rows):
    return [{key: value for key, value in row.items() if key != "tokens_per_second"} for row in rows]


def check(runs, whole, same_weights):
    """The sweep is as it would be had nobody touched it."""
    for ours, theirs in zip(runs, whole, strict=True):
        same_weights(ours.folder, theirs.folder)
        record, expected = load_record(ours.folder), load_record(theirs.folder)
        assert without_timing(record.metrics) == without_timing(expected.metrics)
        lines = (ours.folder / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == record.metrics
        content, wanted = (json.loads((one.folder / "record.json").read_text()) for one in (ours, theirs))
        assert {key for key in wanted if content.get(key) != wanted[key]} <= MAY_DIFFER | {"metrics", "config"}
        for part in (".", "checkpoints"):
            there, before = ({path.name for path in (one.folder / part).iterdir()} for one in (ours, theirs))
            assert there == before
        with locked(ours.folder / ".lock", timeout=0):
            pass
    ours, theirs = (state_table(each).replace(str(each[0].folder.parent), "") for each in (runs, whole))
    assert ours == theirs


@pytest.fixture
def stage(tmp_path):
    stage = Stage(tmp_path / "log.txt")
    yield stage
    for pid in filter(alive, stage.runs | stage.conductors):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    "command",
    [
        ("-m", "model=transformer", "seed=0,1,2,3", "launcher=joblib", "hydra.launcher.n_jobs=2"),
        ("+sweeps=fsn-enwik8", "profile=smoke", "model=transformer,fsn", "seed=0,1"),
    ],
    ids=["side-by-side", "one-after-another"],
)
def test_a_sweep_that_is_killed_again_and_again_loses_nothing(
    command, overrides, tmp_path, same_weights, stage, monkeypatch
):
    typed = [text for text in overrides if not text.startswith(("run_dir=", "model="))] + [*TINY]
    git = environment.git()
    monkeypatch.setattr(environment, "git", lambda: git)  # a commit meanwhile would be told in the records
    request = requested([*command, *typed])
    expanded = expand(request.name, request.profile, request.overrides) if request.name else None

    def look_at(folder):
        sweep = expanded and expand(request.name, request.profile, [*request.overrides, f"runs={folder}"])
        sweep = sweep or combined([*request.overrides, f"runs={folder}"])
        return look(sweep.jobs, sweep.axes)

    for swept in look_at(tmp_path / "whole"):
        run(swept.config)
    whole = look_at(tmp_path / "whole")
    chance = random.Random(f"{command[0]} {KILLS}")
    kills, kills_before, sweeps, done = 0, 0, 0, {}
    while True:
        folder = tmp_path / f"runs{sweeps}"
        how = chance.choice([*CODES, "run", "all"]) if kills < KILLS else None  # these lose most
        kills += until_killed(stage, [*command, *typed, f"runs={folder}"], chance, how)
        if how is None:
            for _ in stage.events():
                pass
        runs = look_at(folder)
        for swept in runs:
            assert swept.state != "failed", swept.fault
            if swept.state == "done":
                stamp = (swept.record.finished, (swept.folder / "checkpoints" / "last.ckpt").stat().st_mtime_ns)
                assert done.setdefault(swept.folder, stamp) == stamp, "made again"
        if all(swept.state == "done" for swept in runs):
            for _ in stage.events():
                pass
            check(runs, whole, same_weights)
            most = max(stage.steps[str(swept.folder)] for swept in runs)
            assert most <= STEPS + kills - kills_before, "a kill costs a run no more than the step that it was in"
            sweeps, kills_before, done = sweeps + 1, kills, {}
            if kills >= KILLS:
                break
