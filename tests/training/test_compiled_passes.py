"""Of a compiled run the passes of training alone are compiled, once, for their one shape."""

import pytest
import torch

from training.compiler import compile_passes
from training.run import run
from training.run_record.record import load_record


@pytest.fixture
def graphs(monkeypatch):
    """What is compiled, as its graphs come; they run as they are, without the minutes of code generation."""
    taken = []

    def take(graph, inputs):
        taken.append(graph)
        return graph.forward

    def trace(module, **options):
        module._compiled_call_impl = torch.compile(module._call_impl, backend=take, **options)

    monkeypatch.setattr(torch.nn.Module, "compile", trace)
    monkeypatch.setattr("training.plan.require_compiler", lambda device: None)
    torch._dynamo.reset()
    return taken


@pytest.mark.parametrize("model", ["kuramoto", "fsn_native"])  # the others: tests/training/test_run.py
def test_the_shape_of_training_alone_is_compiled_once(graphs, model, make_config, tmp_path):
    """A validation takes passes of 20 windows, training of 8."""
    asked = [f"model={model}", "compile=true", "trainer.val_every=7"]
    run(make_config(*asked, "trainer.max_steps=14"))
    assert len(graphs) == 1, "neither a validation nor the look at the start is compiled, and no step once more"
    record = load_record(tmp_path / "run")
    assert record.status == "done" and len(record.rows("validation")) == 2


@pytest.mark.parametrize(
    "model", ["transformer", "kuramoto", "fsn", "fsn_native", "fsn_native model.feed_forward=native", "osn"]
)
def test_a_compiled_pass_makes_no_table_and_holds_no_pairs(graphs, model, make_config):
    """The angles of positions are in float64, which many a GPU is slow in: they are made once, before. Nor is it taken
    for an export, which has plain forms with all pairs of tokens at once.
    """
    run(make_config(*f"model={model}".split(), "compile=true", "trainer.max_steps=3"))
    called = [str(node.target) for graph in graphs for node in graph.graph.nodes if node.op.startswith("call")]
    assert len(called) > 20 and not [name for name in called if "arange" in name or "softmax" in name]


def test_on_a_gpu_a_compiler_makes_cuda_graphs(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, **options: asked.append(options))
    compile_passes(torch.nn.Linear(1, 1))
    compile_passes(torch.nn.Linear(1, 1), cuda_graphs=True)
    assert asked == [{"dynamic": False}, {"dynamic": False, "mode": "reduce-overhead"}]


@pytest.mark.cuda
@pytest.mark.timeout(900)
@pytest.mark.parametrize("model", ["transformer", "fsn", "osn"])
def test_compiled_passes_in_cuda_graphs_train_as_plain_ones(model, make_config, tmp_path):
    """What the GPU preset advises, with a real compiler, in half precision too, and over the end of a validation."""
    asked = [f"model={model}", "trainer.max_steps=20", "trainer.val_every=10", "trainer.accelerator=cuda"]
    found = {}
    for name, more in {"plain": (), "compiled": ("compile=true", "trainer.cuda_graphs=true")}.items():
        for precision in ("32", "bf16"):
            config = make_config(*asked, *more, f"precision={precision}", f"run_dir={tmp_path / name / precision}")
            found[name, precision] = run(config).final["nats"]
    assert found["compiled", "32"] == pytest.approx(found["plain", "32"], abs=3e-3)
    assert found["compiled", "bf16"] == pytest.approx(found["plain", "32"], abs=0.05)
