"""Losses by copy depth from records: means, differences to the transformer, what the intervals say, what is refused."""

import math
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ttest_ind

from configs.errors import UserError
from results.evidence.copy_depth import statements
from results.figures.copy_depth import plot_copy_depth
from results.tables.copy_depth import rows_by_depth, rows_by_distance, rows_of_one
from training.run_record.record import DataInfo

BLOCKS = 10
DEPTHS, CLASSES, DISTANCES = ["0", "1", "2", "3", "4", "5+"], ["1-3", "4+"], ["1-2", "3+"]
COUNTS = np.tile([40, 30, 20, 10, 8, 2], (BLOCKS, 1))  # 110 bytes a block
SPREAD = np.linspace(-0.01, 0.01, BLOCKS)[:, None]  # of a model's bits over blocks, mean 0


def entry(bits, **changes):
    """An evaluation in which every byte of depth k costs bits[k], give or take what the block adds."""
    by_depth = COUNTS * (np.array(bits) + SPREAD) * math.log(2)
    counts, nats = (np.stack([x[:, 1:4].sum(1), x[:, 4:].sum(1)], 1) for x in (COUNTS, by_depth))
    far = {"depths": CLASSES, "counts": _thirds(counts).tolist(), "nats": _thirds(nats).tolist()}
    where = {"task": "copy_depth", "split": "validation", "checkpoint": "last.ckpt", "step": 30, "context": 256}
    sums = {"counts": COUNTS.tolist(), "nats": by_depth.tolist(), "by_distance": far}
    return where | {"bytes": int(COUNTS.sum()), "depths": DEPTHS, "distances": DISTANCES} | sums | changes


def _thirds(x):
    """(K, G) -> (K, G, 2): a near third, a far rest."""
    return np.stack([x // 3 if x.dtype.kind == "i" else x / 3, x - x // 3 if x.dtype.kind == "i" else 2 * x / 3], -1)


@pytest.fixture
def evaluated(record):
    """`evaluated(model, bits by depth, seed)`: a record and its evaluation."""
    return lambda model, bits, seed=0, **changes: (record(model, 2.0, seed=seed), entry(bits, **changes))


BASE = [2.5, 2.4, 2.2, 2.0, 1.5, 1.0]


def test_rows_hold_means_and_differences(evaluated):
    rows = rows_by_depth([evaluated("fsn", [x - 0.125 for x in BASE]), evaluated("transformer", BASE)])
    assert [row["depth"] for row in rows] == [*DEPTHS, "4+", "all"]
    assert list(rows[0]) == ["depth", "bytes", "transformer", "fsn", "fsn minus transformer"]
    assert rows[0] == {
        "depth": "0",
        "bytes": "36.36 %",
        "transformer": "2.5000",
        "fsn": "2.3750",
        "fsn minus transformer": "-0.1250 ± 0.0000",
    }
    assert rows[-2]["bytes"] == "9.09 %" and rows[-2]["transformer"] == "1.4000"  # 8 bytes at 1.5, 2 at 1
    whole = (40 * 2.5 + 30 * 2.4 + 20 * 2.2 + 10 * 2.0 + 8 * 1.5 + 2 * 1.0) / 110
    assert rows[-1]["bytes"] == "100.00 %" and rows[-1]["transformer"] == f"{whole:.4f}"


def test_means_and_differences_are_over_all_seeds_of_both(evaluated):
    theirs, ours = (0.0, 0.2, 0.4), (0.1, 0.4, 5.0)
    runs = [evaluated("transformer", [x + d for x in BASE], s) for s, d in zip((0, 1, 7), theirs, strict=True)]
    runs += [evaluated("fsn", [x + d for x in BASE], s) for s, d in zip((0, 1, 2), ours, strict=True)]
    (row, *_) = rows_by_depth(runs)
    assert row["transformer"] == "2.7000" and row["fsn"] == f"{2.5 + 5.5 / 3:.4f}"
    welch = ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)  # the blocks add nothing
    assert row["fsn minus transformer"] == f"+{5.5 / 3 - 0.2:.4f} ± {(welch.high - welch.low) / 2:.4f}"


def test_distances_are_taken_apart_by_class(evaluated):
    rows = rows_by_distance([evaluated("transformer", BASE), evaluated("kuramoto", [x + 0.25 for x in BASE])])
    assert [(row["depth"], row["distance"]) for row in rows] == [
        ("1-3", "1-2"),
        ("1-3", "3+"),
        ("4+", "1-2"),
        ("4+", "3+"),
    ]
    assert rows[0]["bytes"] == "18.18 %" and rows[1]["bytes"] == "36.36 %"
    assert rows[0]["kuramoto minus transformer"].startswith("+0.25")


def test_the_claims_are_judged_depth_by_depth(evaluated):
    def seeds(model, *steps):
        return [evaluated(model, [x + d for x, d in zip(BASE, steps, strict=True)], seed) for seed in (0, 1)]

    base, behind = seeds("transformer", *[0] * 6), seeds("kuramoto", *[0.1] * 6)
    ahead = seeds("fsn", 1, 1, 1, 1, -0.1, -0.1)
    first, second = statements([*base, *behind, *ahead])
    assert (first.outcome, set(first.by_depth.values())) == ("holds", {"above"}) and list(first.by_depth) == DEPTHS
    assert (second.outcome, second.by_depth) == ("holds", {"4": "below", "5+": "below"})
    mixed = seeds("fsn", 0, 0, 0, 0, -0.1, 0.1)
    assert [v.outcome for v in statements([*base, *mixed])] == ["not run", "does not hold"]
    assert statements([*behind, *mixed])[0].outcome == "not run"  # without a transformer
    assert statements([*base, behind[1], ahead[0]])[0].outcome == "one seed"


def test_what_is_not_significant_is_no_verdict(evaluated):
    runs = [evaluated("transformer", BASE, seed) for seed in (0, 1)]
    noise = np.array([1, -1] * (BLOCKS // 2))  # of depth 5+ alone, 2 bytes a block
    for seed in (0, 1):
        run, ours = evaluated("fsn", [x - 0.1 for x in BASE], seed)
        for block, off in zip(ours["nats"], noise, strict=True):
            block[5] += 2 * off
        runs.append((run, ours))
    judged = statements(runs)[1]
    assert (judged.outcome, judged.by_depth) == ("not significant", {"4": "below", "5+": "not significant"})


def test_a_depth_without_bytes_is_blank(evaluated):
    counts = COUNTS.copy()
    counts[:, 4] = 0
    runs = [evaluated(m, BASE, counts=counts.tolist()) for m in ("transformer", "fsn")]
    row = rows_by_depth(runs)[4]
    assert row == {"depth": "4", "bytes": "", "transformer": "", "fsn": "", "fsn minus transformer": ""}
    assert statements(runs)[1].by_depth["4"] == "no bytes"


def test_one_evaluation_as_eval_prints_it():
    rows = rows_of_one(entry(BASE))
    assert rows[4]["depth"] == "4" and rows[4]["bytes"] == "7.27 %"
    assert rows[4]["bits per byte"].startswith("1.5000 ± 0.00")
    assert rows[-1]["depth"] == "all"


def test_what_cannot_stand_side_by_side_is_refused(evaluated):
    base = evaluated("transformer", BASE)

    def refused(*others, match):
        with pytest.raises(UserError, match=match):
            rows_by_depth([base, *others])

    refused(evaluated("transformer", BASE), match="two runs of transformer, seed 0")
    other = DataInfo("stdlib", "cd" * 32, {"train": 90_000, "validation": 5000, "test": 5000}, {})
    run, made = evaluated("fsn", BASE)
    refused((replace(run, data=other), made), match="data is")
    refused(evaluated("fsn", BASE, bytes=1), match="bytes of the evaluation by copy depth is 1100 in one and 1 in")
    refused(evaluated("fsn", BASE, context=64), match="context of the evaluation")
    refused(evaluated("fsn", BASE, step=0), match="step of the evaluation")
    refused(
        evaluated("fsn", BASE, split="test"),
        match="split of the evaluation by copy depth is validation in one and test in",
    )
    refused(evaluated("fsn", BASE, depths=["0", "1", "2", "3", "4-5", "6+"]), match="different bins")
    shifted = COUNTS.copy()
    shifted[0, :2] += (1, -1)
    refused(evaluated("fsn", BASE, counts=shifted.tolist()), match="different bins")
    wide = {"model": {"name": "transformer", "width": 9}, "scale": {"name": "250k"}, "data": {"context": 256}}
    refused((replace(base[0], seed=1, config=wide), base[1]), match=r"model\.width, not only in the seed")
    with pytest.raises(UserError, match="at least one"):
        rows_by_depth([])


def test_the_figure_names_models_depths_and_units(evaluated, tmp_path):
    runs = [evaluated(m, [x + d for x in BASE]) for m, d in (("transformer", 0), ("kuramoto", 0.1), ("fsn", -0.1))]
    files = plot_copy_depth(runs, tmp_path / "copy")
    assert [file.name for file in files] == ["copy.png", "copy.svg"]
    text = " ".join(ET.parse(files[1]).getroot().itertext())
    for words in (
        "Loss by copy depth on the first",
        "250k parameters, 122,880 tokens, 1 seed; trained on a processor",
        "kuramoto",
        "5+",
        "validation loss (bits per byte)",
        "minus transformer (bits per byte)",
        "share of the",
    ):
        assert words in text


@pytest.mark.parametrize("sha256, unit", [(None, "bytes"), ("ab" * 32, "tokens")])
def test_the_figure_counts_depth_in_what_a_window_holds(evaluated, tmp_path, sha256, unit):
    runs = [evaluated(model, BASE) for model in ("transformer", "fsn")]
    for record, _ in runs:
        record.data = replace(record.data, tokenizer=record.data.tokenizer | {"sha256": sha256})
    text = " ".join(ET.parse(plot_copy_depth(runs, tmp_path / "copy")[1]).getroot().itertext())
    assert f"copy depth ({unit} of context that match)" in text and f"nearest match ({unit})" in text


def test_a_text_without_deep_copies_leaves_the_distances_empty(evaluated, tmp_path):
    none = {key: np.zeros((BLOCKS, 2, 2), dtype=int).tolist() for key in ("counts", "nats")} | {"depths": CLASSES}
    runs = [evaluated(m, BASE, by_distance=none) for m in ("transformer", "fsn")]
    assert len(plot_copy_depth(runs, tmp_path / "shallow")) == 2
    assert rows_by_distance(runs) == []
