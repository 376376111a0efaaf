"""The host does not wait for the device within a step: nothing reads a number of a tensor, or copies one to the host,
until a row, a checkpoint or a validation is due.
"""

import contextlib

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from training.loop import Loop
from training.run import run

# By name, what waits for the device of its tensor: methods of a tensor, and the operations below them.
METHODS = ("item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "__index__", "__array__", "nonzero")
OPERATIONS = ("_local_scalar_dense", "item", "nonzero", "masked_select", "equal", "is_nonzero", "unique_dim")
EVERY = 4  # steps between rows


class Waiting(Exception):
    pass


class NoMethods(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") in METHODS:
            raise Waiting(func.__name__)
        return func(*args, **(kwargs or {}))


def moves(tensor, dtype=None, device=None, **_):
    """Whether a copy is to the host; autocast names the device too where it casts alone."""
    return device == torch.device("cpu") and dtype in (None, tensor.dtype)


class NoOperations(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name in OPERATIONS or (name == "_to_copy" and moves(args[0], **kwargs)):
            raise Waiting(name)
        return func(*args, **kwargs)


@pytest.fixture
def watched(monkeypatch):
    """From each step's begin to its end such calls are refused; the names of the steps that were watched to the end."""
    inside, steps = contextlib.ExitStack(), []
    end_step = Loop.on_train_batch_end

    def begin(self, trainer, *arguments):
        if trainer.global_step > 0:  # the first step makes tables, of positions for example, and the optimizer's state
            inside.enter_context(NoMethods())
            inside.enter_context(NoOperations())

    def end(self, trainer, *arguments):
        if due := trainer.global_step % EVERY == 0:
            inside.close()
        end_step(self, trainer, *arguments)
        inside.close()
        if not due:
            steps.append(trainer.global_step)

    monkeypatch.setattr(Loop, "on_train_batch_start", begin)
    monkeypatch.setattr(Loop, "on_train_batch_end", end)
    with inside:  # left too where a step raises
        yield steps


BRIEF = [
    f"trainer.log_every={EVERY}",
    f"trainer.checkpoint_every={EVERY}",
    f"trainer.val_every={EVERY}",
    "trainer.max_steps=4",
]
RUNS = [
    ["model=transformer", "trainer.micro_batch_size=4"],
    ["model=kuramoto", "precision=bf16"],
    ["model=fsn"],
    ["model=fsn_native"],
    ["model=fsn_native", "model.feed_forward=native"],
    ["model=osn"],
]


@pytest.mark.parametrize("more", RUNS, ids=" ".join)
def test_a_step_reads_no_number(make_config, watched, more):
    run(make_config(*BRIEF, *more))
    assert {2, 3} <= set(watched)


WAYS = [float, int, bool, torch.Tensor.item, torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.cpu]
WAYS += [torch.nonzero, lambda x: x.to("cpu", copy=True), lambda x: torch.ones(2)[x > 0], lambda x: torch.equal(x, x)]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_what_waits_is_found(way):
    number = torch.ones(())
    with pytest.raises(Waiting), NoMethods(), NoOperations():
        way(number)


@pytest.mark.cuda
@pytest.mark.parametrize("model", ["transformer", "kuramoto", "fsn", "fsn_native", "osn"])
def test_a_step_on_a_gpu_waits_for_nothing(make_config, watched, monkeypatch, model):
    """As torch itself sees it: any call that waits raises."""
    monkeypatch.setattr(NoMethods, "__enter__", lambda self: torch.cuda.set_sync_debug_mode("error"))
    monkeypatch.setattr(NoMethods, "__exit__", lambda self, *error: torch.cuda.set_sync_debug_mode("default"))
    run(make_config(*BRIEF, f"model={model}", "trainer=gpu", "trainer.max_epochs=null", "precision=bf16"))
    assert {2, 3} <= set(watched)
