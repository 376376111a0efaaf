"""The benchmark measures what it says: real steps, in turn, in one process; its mistakes are one line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from configs.compose import compose
from configs.errors import UserError
from training.benchmarks import inference, loop
from training.benchmarks import steps as benchmark

ROOT = Path(__file__).parents[1]
SMALL = ["scale=smoke", "batch_size=2", "context=16", "rounds=3", "threads=1"]


def test_a_training_step_changes_every_weight() -> None:
    config = compose("bench", SMALL)
    built = []
    original = benchmark.build_model

    def keep(*arguments):
        built.append(original(*arguments))
        return built[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "build_model", keep)
        step, parameters, shape = benchmark.training_step(config, "fsn")
    before = {name: p.detach().clone() for name, p in built[0].named_parameters()}
    step()
    step()  # the imaginary kernel starts at a point where its first gradient may vanish
    assert parameters == sum(p.numel() for p in built[0].parameters())
    assert f"{len(built[0].layers)} x " in shape
    for name, parameter in built[0].named_parameters():
        assert not torch.equal(parameter, before[name]), name


def test_the_scale_is_the_one_that_was_asked_for() -> None:
    config = compose("bench", [*SMALL, "scale.n_layers=3", "scale.parameters=60000"])
    _, parameters, shape = benchmark.training_step(config, "transformer")
    assert parameters == pytest.approx(60_000, rel=0.005)
    assert shape.startswith("3 x ")


def test_ratios_are_taken_round_by_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that slows down by a factor of 10 between rounds leaves the ratio of two models alone."""
    clock = iter(12 * [0] + [0, 1, 1, 3, 100, 110, 110, 130, 1000, 1100, 1100, 1300])
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(benchmark, "training_step", lambda config, name: (lambda: None, 7, "shape"))
    monkeypatch.setattr(benchmark, "peak_memory", lambda config, name: 1)
    first, second = benchmark.measure(compose("bench", [*SMALL, "models=[transformer,fsn]"]))
    assert (first.seconds, second.seconds) == (10, 20)
    assert (first.ratio, second.ratio) == (1, 2)
    assert first.tokens_per_second == 2 * 16 / 10


def test_loading_is_timed_on_batches_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where an epoch has fewer batches than are timed: the epoch then begins again."""
    made = []

    def counted(split, context, batch_size, **place):
        made.append(place["index"])
        return original(split, context, batch_size, **place)

    original = benchmark.training_batch
    monkeypatch.setattr(benchmark, "training_batch", counted)
    monkeypatch.setattr(benchmark, "CORPUS_BYTES", 1000)
    assert 0 < benchmark.loading_seconds(compose("bench", SMALL)) < 1
    assert made == [count % 32 for count in range(103)]


def test_the_command_prints_a_table_and_writes_json(tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    command = [sys.executable, "bench.py", *SMALL, "models=[transformer,kuramoto]", f"output={output}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "time / transformer" in done.stdout and "kuramoto" in done.stdout
    assert "of the quickest step" in done.stdout
    result = json.loads(output.read_text())
    assert result["loading_seconds"] > 0
    assert [timing["model"] for timing in result["timings"]] == ["transformer", "kuramoto"]
    assert all(timing["peak_memory_bytes"] > 0 for timing in result["timings"])
    assert str(tmp_path) not in output.read_text()


def test_a_compiled_step_is_told_beside_one_that_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step of WARM_UP compiles; rounds measure both, one after the other."""
    clock = iter([0, 61, 70, 71, 80, 81, 90, 91, 92, 93, 94, 95, 100, 102, 110, 113, 120, 120.5, 130, 132])
    built = []

    def training_step(config, name):
        built.append((name, config.compile))
        return lambda: None, 7, "shape"

    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(benchmark, "training_step", training_step)
    monkeypatch.setattr(benchmark, "peak_memory", lambda config, name: 1)
    monkeypatch.setattr(benchmark, "require_compiler", lambda device: None)
    (timing,) = benchmark.measure(compose("bench", [*SMALL, "models=[fsn]", "rounds=2", "compile=true"]))
    assert built == [("fsn", True), ("fsn", False)]
    assert timing.compile_seconds == 60
    assert timing.gain == (3 / 2 + 2 / 0.5) / 2, "the median of the rounds' ratios"


def test_inference_tells_speeds_of_what_is_done() -> None:
    """The loss of every target of the split is told, and as many tokens are written as the speeds are of."""
    told, written = [], []
    evaluate, continued = inference.evaluate, inference.continued
    small = [*SMALL, "task=inference", "rounds=1", "models=[transformer,fsn]"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inference, "evaluate", lambda *a, **k: told.append(evaluate(*a, **k)))
        patch.setattr(inference, "continued", lambda *a: written.extend(t.numel() for t in continued(*a)) or [])
        timings = inference.measure_inference(compose("bench", small), lambda done: None)
    assert {result.targets for result in told} == {2 * 2 * 16} and len(told) == 4
    assert sum(written) == 4 * 2 * (16 + 1), "and one after a prompt that was read"
    assert [timing.model for timing in timings] == ["transformer", "fsn"]
    assert (timings[0].evaluation_ratio, timings[0].reading_ratio, timings[0].decoding_ratio) == (1, 1, 1)
    for timing in timings:
        assert min(timing.evaluated_per_second, timing.read_per_second, timing.decoded_per_second) > 0


def test_what_a_run_adds_is_its_step_less_a_bare_one_of_the_same_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real runs, of the batches that were asked for; the time of bare steps is made up."""
    ran, bare = [], [0.25, 0.5, 0.125]
    original = loop.run
    monkeypatch.setattr(loop, "ROWS", 3)
    monkeypatch.setattr(loop, "FEWEST", 12)
    monkeypatch.setattr(loop, "CORPUS", 20_000)
    monkeypatch.setattr(loop, "first_steps", lambda step: 0)
    monkeypatch.setattr(loop, "seconds_of", lambda step: bare[max(0, len(ran) - 1)])

    def kept(config):
        ran.append(original(config))
        for row, speed in zip(ran[-1].rows("train"), (1, 32, 64), strict=True):
            row["tokens_per_second"] = speed
        return ran[-1]

    monkeypatch.setattr(loop, "run", kept)
    (timing,) = loop.measure_loop(compose("bench", [*SMALL, "task=loop", "models=[fsn]"]))
    assert [record.config["scale"]["name"] for record in ran] == ["smoke"] * 3
    assert all(record.final["step"] == 12 and record.final["tokens"] == 12 * 2 * 16 for record in ran)
    assert timing.run_seconds == 32 / 48, "the first row, of a run that warms up, is left out"
    assert timing.step_seconds == 0.25
    assert timing.overhead_seconds == timing.run_seconds - 0.25
    assert timing.steps == 12


@pytest.mark.parametrize(("seconds", "steps"), [(0.001, 120), (0.05, 60), (0.0475, 60), (10.0, 12)])
def test_a_run_that_is_timed_takes_some_seconds(seconds: float, steps: int) -> None:
    assert loop.steps_of_a_run(seconds) == steps


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("models=[fns]", "legal are transformer"),
        ("rounds=0", "at least 1"),
        ("model=fsn", r"nearest is 'models'; type models=\[fsn\]"),
        ("models=fsn", r"type for example models=\[fsn\]"),
    ],
)
def test_mistakes_are_one_line(override: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        compose("bench", [override])


def test_cuda_asked_for_and_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="device=cpu"):
        benchmark.measure(compose("bench", [*SMALL, "device=cuda"]))
