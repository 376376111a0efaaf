"""Figures are written, hold the records' numbers, and refuse to mix what differs."""

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from configs.errors import UserError
from results.evidence.curves import loss_after, validation_curves
from results.figures.curves import drawn, plot_curves
from results.figures.style import STYLES, paler
from training.run_record.record import DataInfo


def test_files_are_whole_and_name_models_and_units(record, tmp_path):
    files = plot_curves([record("transformer", 2.5), record("fsn", 2.25)], tmp_path / "figures" / "loss.curves")
    assert [file.name for file in files] == ["loss.curves.png", "loss.curves.svg"]
    assert files[0].read_bytes().startswith(b"\x89PNG")
    text = " ".join(ET.parse(files[1]).getroot().itertext())
    for words in (
        "Validation loss on stdlib, 250k parameters",
        "trained on a processor",
        "transformer  2.500",
        "fsn  2.250",
        "training tokens (a token is a byte)",
        "loss (bits per byte)",
    ):
        assert words in text
    assert text.index("transformer  2.500") < text.index("fsn  2.250")  # as the curves end, top to bottom


def test_the_svg_is_the_same_each_time(record, tmp_path):
    first, again = (plot_curves([record("fsn", 2.2)], tmp_path / name)[1].read_bytes() for name in ("a", "b"))
    assert first == again


def test_seeds_share_a_curve_of_their_mean_unless_more_than_the_seed_differs(record, tmp_path):
    runs = [record("fsn", 2.0, seed=0), record("fsn", 2.5, seed=1), record("transformer", 2.4)]
    text = " ".join(ET.parse(plot_curves(runs, tmp_path / "a")[1]).getroot().itertext())
    assert "fsn, 2 seeds  2.250" in text and "transformer  2.400" in text
    wide = {"model": {"name": "fsn", "width": 96}, "scale": {"name": "250k"}, "data": {"context": 256}}
    text = " ".join(
        ET.parse(plot_curves([*runs, record("fsn", 2.1, config=wide)], tmp_path / "b")[1]).getroot().itertext()
    )
    assert "fsn, model.width=null, 2 seeds  2.250" in text and "fsn, model.width=96  2.100" in text
    twice = [*runs, record("fsn", 2.2, seed=1)]  # of two runs with one seed there is no mean
    text = " ".join(ET.parse(plot_curves(twice, tmp_path / "c")[1]).getroot().itertext())
    assert "seeds" not in text and "fsn, seed 1  2.500" in text and "fsn, seed 1  2.200" in text


def test_variants_of_a_model_have_looks_of_their_own(record, tmp_path):
    runs = [record("fsn", 2.0 + k / 10, config=_with_limit(record("fsn", 2.0).config, k)) for k in range(3)]
    svg = plot_curves(runs, tmp_path / "a")[1].read_text()
    looks = ["#d55e00", paler("#D55E00", 1), paler("#D55E00", 2)]
    assert len(set(looks)) == 3 and all(f"stroke: {look}" in svg for look in looks)
    assert all(f"fsn, model.increment_limit={k + 1}  2.{k}00" in svg for k in range(3))


def _with_limit(config, k):
    return config | {"model": config["model"] | {"increment_limit": k + 1.0}}


def test_a_last_validation_on_more_bytes_is_drawn_apart_and_stands_in_the_legend(record, tmp_path):
    """As it does in the tables: what the figure says of its bytes and tokens is in the figure, and for a caption."""
    runs = [record("fsn", bits, seed=seed) for seed, bits in enumerate((2.0, 2.1))]
    for run in runs:
        run.metrics[-1] = run.metrics[-1] | {"bytes": 9000, "bits_per_byte": run.metrics[-1]["bits_per_byte"] - 0.5}
    text = " ".join(ET.parse(plot_curves(runs, tmp_path / "a")[1]).getroot().itertext())
    assert "fsn, 2 seeds  1.550" in text
    assert drawn(runs).split("; ") == [
        "lines: the first 5,000 validation bytes, up to 81,920 tokens",
        "hollow, and in the legend: the first 9,000 validation bytes, after 122,880 tokens",
        "means over seeds, bands from the least to the largest",
    ]
    assert all(line in text for line in drawn(runs).split("; "))
    assert drawn([record("fsn", 2.0)]) == "lines: the first 5,000 validation bytes, up to 122,880 tokens"


def test_tokens_that_are_not_bytes_are_named(record, tmp_path):
    run = record("fsn", 2.0)
    tokenizer = {"name": "bpe.json", "sha256": "cd" * 32, "vocabulary_size": 8192}
    run = replace(run, data=replace(run.data, tokenizer=tokenizer))
    text = " ".join(ET.parse(plot_curves([run], tmp_path / "a")[1]).getroot().itertext())
    assert "training tokens (tokenizer bpe.json (cdcdcdcd))" in text and "byte)" not in text.replace(
        "bits per byte)", ""
    )


def test_between_validations_the_loss_is_linear_in_the_logarithm_of_the_tokens():
    points = [(100, 3.0), (400, 2.0), (1600, 1.5)]
    assert [loss_after(points, tokens) for tokens in (100, 200, 400, 800, 1600)] == pytest.approx(
        [3.0, 2.5, 2.0, 1.75, 1.5]
    )
    assert loss_after(points, 99) is None and loss_after(points, 1601) is None and loss_after([], 100) is None


def test_an_epoch_that_lacks_a_window_keeps_seeds_together(record, tmp_path):
    late = record("fsn", 2.5, seed=1)
    late = replace(late, metrics=[row | {"tokens": row["tokens"] - 180} for row in late.metrics])
    text = " ".join(ET.parse(plot_curves([record("fsn", 2.0), late], tmp_path / "a")[1]).getroot().itertext())
    assert "fsn, 2 seeds  2.250" in text
    late = replace(late, metrics=[row | {"tokens": 2 * row["tokens"]} for row in late.metrics])
    text = " ".join(ET.parse(plot_curves([record("fsn", 2.0), late], tmp_path / "b")[1]).getroot().itertext())
    assert "seeds" not in text


def test_curves_are_the_validations_against_tokens(record):
    (curve,) = validation_curves([record("fsn", 2.0)])
    assert curve == [(40960, 3.0), (81920, 2.2), (122880, 2.0)]


def test_validations_of_other_bytes_are_left_out(record):
    run = record("fsn", 2.0)
    run = replace(run, metrics=[*run.metrics[:-1], run.metrics[-1] | {"bytes": 9000}])
    assert validation_curves([run]) == [[(40960, 3.0), (81920, 2.2)]]


def test_what_cannot_be_drawn_is_refused(record, tmp_path):
    with pytest.raises(UserError, match="at least one validation"):
        plot_curves([record("fsn", 2.0, metrics=[])], tmp_path / "x")
    other = DataInfo("stdlib", "cd" * 32, {"train": 90_000, "validation": 5000, "test": 5000}, {})
    with pytest.raises(UserError, match="data is"):
        plot_curves([record("fsn", 2.0), record("kuramoto", 2.0, data=other)], tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_models_differ_by_colour_and_line_and_marker():
    for part in zip(*STYLES.values(), strict=True):
        assert len(set(part)) == len(STYLES)
