"""Sweeps that train in the process of the test, which is quicker, where their processes are not what is tested."""

import pytest

from training.signals import Interrupted
from training.sweeps.own_process import OwnProcesses, train_here


@pytest.fixture
def in_this_process(monkeypatch):
    def train(self, config, command):
        if self.signum is None:
            try:
                return train_here(config)
            except Interrupted as interrupted:
                self.signum = interrupted.exit_code - 128
        return None

    monkeypatch.setattr(OwnProcesses, "train", train)
