"""Processes meet, agree and fail together: here ranks are threads, because all of that goes through the store alone."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from configs.errors import UserError
from training.processes import group as group_module
from training.processes.group import Group
from training.processes.launcher import Place
from training.processes.watch import RankDied


@pytest.fixture
def together():
    """Calls work(group) for each rank of a run of so many; what each returned or raised, by rank."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    def call(work, size=3):
        # One process counts its runs, and here it is several of them.
        runs, counted = group_module._runs, threading.Lock()

        def rank(number):
            with counted:
                group_module._runs = runs
                group = Group(Place("srun", number, size, number, size, port=port), timeout=60)
            try:
                with group:
                    return work(group)
            except (UserError, RankDied) as error:
                return error

        with ThreadPoolExecutor(size) as pool:
            return list(pool.map(rank, range(size)))

    yield call
    group_module._external.clear()


SAME = {"seed": 0, "checkpoint": 7, "SHA-256 of the data": "ab"}


def test_equal_processes_agree_and_hear_what_rank_0_decided(together):
    def work(group):
        if group.main:
            group.tell({"checkpoint": "a.ckpt"})
        group.agree(SAME)
        return group.told()

    assert together(work) == [{"checkpoint": "a.ckpt"}] * 3


@pytest.mark.parametrize("key", SAME)
def test_each_process_ends_with_a_line_that_names_rank_and_difference(together, key):
    for error in together(lambda group: group.agree(SAME | ({key: "other"} if group.place.rank == 2 else {}))):
        assert isinstance(error, UserError)
        assert str(error) == f"rank 2 trains something else: {key} is other there and {SAME[key]} in rank 0"


def test_what_keeps_one_process_from_training_ends_all(together):
    mine = {"error": "the file is not there"}
    for error in together(lambda group: group.agree(mine if group.place.rank == 1 else SAME)):
        assert isinstance(error, UserError) and str(error) == "rank 1: the file is not there"


def test_a_mistake_of_rank_0_is_told_to_all(together):
    def work(group):
        if group.main:
            raise UserError("the directory is taken")
        group.told()

    assert [str(error) for error in together(work)[1:]] == ["rank 0: the directory is taken"] * 2


def test_what_follows_from_a_failure_is_told_as_that(together):
    follows = RuntimeError("[gloo/transport/tcp/pair.cc:537] Connection reset by peer")

    def work(group):
        group.agree(SAME)
        return group.cause(ZeroDivisionError("a bug") if group.place.rank == 2 else follows)

    first, second, third = together(work)
    assert str(first) == str(second) == "rank 2 died: ZeroDivisionError: a bug"
    assert isinstance(third, ZeroDivisionError)


def test_a_rank_that_does_not_come_is_named(together, monkeypatch, capsys):
    monkeypatch.setattr(group_module, "MEETING", 0.0)
    monkeypatch.setattr(group_module, "LATE", 0.0)

    def work(group):
        group.timeout = 2.0
        if group.place.rank == 1:
            return None
        return group.agree(SAME)

    results = together(work, 2)
    assert str(results[0]) == "rank 1 did not come within 2 s"
    assert "it still waits for rank 1\n" in capsys.readouterr().err


def test_a_run_of_one_process_has_no_store():
    with Group(replace(Place(), size=1), timeout=60) as group:
        group.agree(SAME)
        group.connect("cpu")
        assert group.host is None and group.cause(error := ValueError()) is error
