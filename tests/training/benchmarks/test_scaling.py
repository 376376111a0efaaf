"""What is measured against length, width and parameters: the shapes, their counts, and in which order."""

import pytest

from configs.compose import compose
from configs.errors import UserError
from training.benchmarks import scaling

SMALL = ["task=scaling", "scale=smoke", "batch_size=2", "context=32", "rounds=2", "threads=1"]
SMALL += ["models=[transformer,fsn]", "lengths=[16,32]", "widths=[16,32]", "scales=[smoke,250k]"]


@pytest.fixture(scope="module")
def points():
    return scaling.measure_scaling(compose("bench", SMALL))


def of(points, model, axis):
    return [point for point in points if (point.model, point.axis) == (model, axis)]


def test_every_axis_varies_one_thing_and_they_meet(points):
    for model in ("transformer", "fsn"):
        by_axis = {axis: of(points, model, axis) for axis in ("context", "width", "parameters")}
        assert [point.value for of_axis in by_axis.values() for point in of_axis] == [16, 32, 16, 32, 50_000, 250_000]
        assert [point.context for of_axis in by_axis.values() for point in of_axis] == [16, 32, 32, 32, 32, 32]
        shorter, middle = by_axis["context"]
        assert (shorter.parameters, shorter.shape) == (middle.parameters, middle.shape)
        assert by_axis["width"][0].shape.startswith("2 x 16, ")
        assert [point.parameters for point in by_axis["parameters"]] == pytest.approx([50_000, 250_000], rel=0.005)
        met = [middle, by_axis["width"][1], by_axis["parameters"][0]]
        for at in met:
            assert (at.seconds, at.ratio, at.flops_per_token, at.memory_bytes) == (
                middle.seconds,
                middle.ratio,
                middle.flops_per_token,
                middle.memory_bytes,
            ), "it is one point, and measured once"


def test_what_is_counted(points):
    (half, whole), (narrow, _) = of(points, "transformer", "context"), of(points, "transformer", "width")
    # Two layers, scores and values: 2 products of 2 w N operations a token, three times for forward and backward.
    assert whole.flops_per_token - half.flops_per_token == 3 * 2 * 2 * 2 * 32 * 16
    assert narrow.flops_per_token < whole.flops_per_token / 3
    assert whole.memory_bytes - whole.activation_bytes == 16 * whole.parameters
    assert narrow.activation_bytes == pytest.approx(whole.activation_bytes / 2, rel=0.05)


def test_models_take_turns_and_a_ratio_is_of_one_round(monkeypatch):
    """A machine that slows down by a factor of 10 between rounds leaves the ratio of two models alone."""
    taken, clock = [], [0.0]

    def pretended(config, run, model):
        def step():
            taken.append((run.model.name, int(run.data.context)))
            clock[0] += {"transformer": 1, "fsn": 2}[run.model.name] * 10 ** (len(taken) > 4 * scaling.WARM_UP + 4)

        return step

    monkeypatch.setattr(scaling, "training_step", pretended)
    monkeypatch.setattr(scaling.time, "perf_counter", lambda: clock[0])
    told = []
    small = [*SMALL, "widths=[32]", "scales=[smoke]"]
    points = scaling.measure_scaling(compose("bench", small), told.append)
    in_turn = [(model, length) for length in (16, 32) for model in ("transformer", "fsn")]
    assert taken[4 * scaling.WARM_UP :] == in_turn * 2 and told == [1, 2]
    assert {point.ratio for point in points if point.model == "fsn"} == {2.0}
    assert {point.seconds for point in points if point.model == "fsn"} == {11.0}


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("lengths=[48]", "context=64 is not divisible by lengths=48"),
        ("widths=[]", r"widths=\[\]: takes one width or more; type for example widths=\[64,128\]"),
        ("scales=[3m]", r"scales=\['3m'\]: legal are .*; type scales=\[250k,1m\]"),
        ("compile=true", "task=scaling measures without compile; leave out compile="),
    ],
)
def test_mistakes_are_one_line(typed, words):
    with pytest.raises(UserError, match=words):
        compose("bench", [*SMALL, typed])
