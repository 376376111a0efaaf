"""What is built from records of known numbers: verdicts, edges, best first."""

import json
from dataclasses import replace

import pytest
from scipy.stats import ttest_ind

from configs.compose import config_dict
from configs.errors import UserError
from configs.sweeps import Job, Sweep
from results.document import Document
from results.evidence.protocol import UNPAIRED
from results.evidence.runs import gather
from results.tables.kinds import ADDERS, add_tables, gather_for
from training.sweeps.swept_run import configured_jobs

COMMON = ("scale=smoke", "data=stdlib", "trainer.max_steps=6", "logger=none")


def sweep(kind, jobs, axes, baseline="transformer"):
    return Sweep("mine", "cpu", "Mine", [Job((*COMMON, *keys), row) for row, keys in jobs], axes, "", kind, baseline)


@pytest.fixture
def built(record, tmp_path):
    """`built(sweep, [bits or None of each run], [error or None], **changes)`: of a sweep whose runs ended so."""

    def make(of, bits, errors=(), **changes):
        found = []
        for i, ((_, config), value) in enumerate(zip(configured_jobs(of.jobs), bits, strict=True)):
            if value is not None:
                plain = json.loads(json.dumps(config_dict(config)))
                made = record(config.model.name, value, config.seed, **({"config": plain} | changes))
                made.parameters["total"] = config.scale.parameters
                if errors and errors[i] is not None:  # 0: it is not over
                    made.status, made.error, made.final = "failed" if errors[i] else "running", errors[i] or None, None
                found.append((tmp_path / str(i), made))
        document = Document("mine", "Mine")
        (evidence,) = gather(of, found)
        add_tables(evidence, document, tmp_path, "mine")
        return document

    return make


def test_every_kind_is_built():
    from configs.sweeps import KINDS

    assert set(ADDERS) == set(KINDS)


def test_checkpoints_side_by_side(built, tmp_path):
    jobs = [("", (f"seed={s}", f"model={m}")) for s in (0, 1, 2) for m in ("transformer", "fsn")]
    document = built(sweep("checkpoints", jobs, ["seed", "model"]), [2.0, 1.5, 2.2, 1.71, 2.4, None])
    means, differences, costs = document.tables
    # s = 0.2, over sqrt(3), times t(2) = 4.303.
    assert [row["transformer"] for row in means.rows] == ["3.2000 ± 0.4968", "2.4000 ± 0.4968", "2.2000 ± 0.4968"]
    assert means.rows[2]["fsn"] == "1.6050 ± 1.3342 (2 of 3 seeds)"
    assert [row["checkpoint"] for row in means.rows] == ["40,960 tokens", "81,920 tokens", "0.12 M tokens"]
    # All seeds of both, not the pairs that are there: 1.605 - 2.2, and Welch's interval.
    welch = ttest_ind([1.5, 1.71], [2.0, 2.2, 2.4], equal_var=False).confidence_interval(0.95)
    half = (welch.high - welch.low) / 2
    assert differences.rows[2]["fsn"] == f"-0.5950 ± {half:.4f} below (2 and 3 of 3 seeds)"
    assert differences.notes == [UNPAIRED] and "95 % interval over seeds" in differences.title
    assert [row["model"] for row in costs.rows] == ["transformer", "fsn"]
    assert costs.rows[1]["equal tokens"].startswith("-0.5950 ±")
    assert means.notes == ["1 of 6 runs is missing: seed=2 model=fsn."]
    assert len(means.data) == 15 and means.data[0]["bits_per_byte"] == 3.0
    assert (tmp_path / "mine.png").exists() and document.figures[0][0] == "mine"


def test_variants_best_first_and_what_was_not_run_last(built):
    jobs = [(row, (f"seed={s}", *keys)) for s in (0, 1) for row, keys in ROWS.items()]
    table, costs = built(sweep("finals", jobs, ["seed"], "whole"), [2.0, None, 1.9, 2.1, None, 1.9]).tables
    assert [(row["variant"], row["bits per byte"], row["minus whole"]) for row in table.rows] == [
        ("transformer", "1.9000 ± 0.0000", "-0.1500 ± 0.6353 not significant"),
        ("whole", "2.0500 ± 0.6353", ""),
        ("two harmonics", "not run", ""),
    ]
    assert table.notes == [UNPAIRED, "2 of 6 runs are missing: two harmonics seed=0, two harmonics seed=1."]
    # Costs are over the transformer's, whatever the differences are to; a row that was not run has none.
    assert [(row["model"], row["equal tokens"]) for row in costs.rows] == [
        ("transformer", ""),
        ("whole", "+0.1500 ± 0.6353 not significant"),
    ]


ROWS = {
    "whole": ("model=fsn",),
    "two harmonics": ("model=fsn", "model.harmonics=2"),
    "transformer": ("model=transformer",),
}


def test_what_heads_lock_stands_below_the_losses(built, record):
    locked = [[[0.5, 0.25]], [[0.25, 0.0]], [[0.125, 0.0625]]]
    rows = [
        {**row, "synchrony": {"locked_fraction": layers}}
        for row, layers in zip(record("osn", 2.0).metrics, locked, strict=True)
    ]
    jobs = [("whole", ("seed=0", "model=osn"))]
    _, table = built(sweep("finals", jobs, ["seed"], "whole"), [2.0], metrics=rows).tables
    assert table.rows == [
        {"variant": "whole", "tokens": "40,960", "layer 0": "0.375 (0.250 to 0.500)"},
        {"variant": "whole", "tokens": "122,880", "layer 0": "0.094 (0.062 to 0.125)"},
    ]


def test_a_best_rate_at_the_edge_is_told(built):
    jobs = [
        ("", ("seed=0", f"model={m}", f"optim.lr={lr}")) for m in ("transformer", "fsn") for lr in (1e-3, 2e-3, 4e-3)
    ]
    _, best = built(sweep("rates", jobs, ["seed", "model", "optim.lr"]), [2.0, 1.9, 1.95, 2.1, 2.05, None]).tables
    assert [list(row.values()) for row in best.rows] == [
        ["transformer", "0.002", "1.9000", "3 of 3 rates"],
        ["fsn", "0.002, at the edge of what was tried", "2.0500", "2 of 3 rates"],
    ]


def test_rates_beside_the_grid_have_a_row_where_they_were_tried(record, tmp_path):
    axes = ["seed", "model", "optim.lr"]
    jobs = [
        ("", ("seed=0", f"model={model}", f"optim.lr={rate}"))
        for model in ("transformer", "fsn")
        for rate in (1e-3, 4e-3)
    ]
    more = [("", ("seed=0", "model=fsn", f"optim.lr={rate}")) for rate in (0.002345678, 0.0031)]
    found = []
    for _, config in configured_jobs(sweep("rates", [*jobs, *more], axes).jobs):
        plain = json.loads(json.dumps(config_dict(config)))
        found.append((tmp_path, record(config.model.name, 2.0, config=plain)))
    elsewhere = found[-1][1]
    elsewhere.data = replace(elsewhere.data, sha256="ef" * 32)
    elsewhere.config["data"]["source"] = "text"
    here, other = gather_for(sweep("rates", jobs, axes), found)
    document = Document("mine", "Mine")
    add_tables(here, document, tmp_path, "mine")
    table, best = document.tables
    assert [(row["rate"], row["transformer"] != "", row["fsn"] != "") for row in table.rows] == [
        ("0.001", True, True),
        ("0.00234568", False, True),
        ("0.004", True, True),
    ]
    assert "proposed by a search (sweeper=optuna): 0.00234568." in table.notes[-1]
    assert [row["tried"] for row in best.rows] == ["2 of 2 rates", "3 of 3 rates"]
    assert len(here.runs) == 5 and [run.label for run in other.runs if run.record] == [
        "seed=0 model=fsn optim.lr=0.0031"
    ]


def test_a_rate_at_which_a_run_failed_is_not_the_best_and_is_said_to_have_failed(built):
    jobs = [("", (f"seed={s}", "model=fsn", f"optim.lr={lr}")) for s in (0, 1) for lr in (1e-3, 2e-3, 4e-3)]
    made = sweep("rates", jobs, ["seed", "model", "optim.lr"])
    failed = [None] * 5 + ["loss is not finite at step 7"]
    table, best = built(made, [2.0, 1.9, 1.5, 2.1, 2.0, 0.0], failed).tables
    assert [row["fsn"] for row in table.rows][2] == "1.5000 (1 of 2 seeds), some did not end"
    assert "(loss is not finite at step 7)" in table.notes[-1]
    assert [list(row.values()) for row in best.rows] == [
        ["fsn", "0.002", "1.9500", "3 of 3 rates, 1 of them with runs that did not end"],
    ]


def test_a_rate_whose_run_is_not_over_is_not_tried(built, record):
    jobs = [("", ("seed=0", "model=fsn", f"optim.lr={lr}")) for lr in (1e-3, 2e-3, 4e-3)]
    _, best = built(sweep("rates", jobs, ["seed", "model", "optim.lr"]), [2.0, 1.9, 0.0], [None, None, 0]).tables
    assert list(best.rows[0].values()) == ["fsn", "0.002, at the edge of what was tried", "1.9000", "2 of 3 rates"]


def test_a_rate_with_fewer_seeds_is_not_the_best(built):
    jobs = [("", (f"seed={s}", "model=fsn", f"optim.lr={lr}")) for s in (0, 1) for lr in (1e-3, 2e-3, 4e-3)]
    made = sweep("rates", jobs, ["seed", "model", "optim.lr"])
    _, best = built(made, [2.0, 1.9, 1.95, 3.0, 2.9, None]).tables
    assert list(best.rows[0].values()) == ["fsn", "0.002", "2.4000", "3 of 3 rates, 1 of them with fewer seeds"]


def test_the_ladder_fits_a_power_law_through_three_sizes_and_none_through_two(built, tmp_path):
    def ladder(scales, bits):
        jobs = [("", ("seed=0", f"scale={s}", f"model={m}")) for s in scales for m in ("transformer", "fsn")]
        document = built(sweep("scale", jobs, ["seed", "scale", "model"]), bits)
        return document, (tmp_path / "mine.svg").read_text()

    document, svg = ladder(("1m", "2m", "4m"), [4.0, 2.2, 2.0, 2.1, 1.0, 2.0])
    table, *costs = document.tables
    assert table.notes[0] == "transformer: L = 4000000.000 P^-1.0000."  # half of the size, twice the loss
    assert "with power laws" in document.figures[0][1] and "P^{-1.000}" in svg
    differences = [row["fsn minus transformer"] for row in table.rows]
    assert differences == ["-1.8000 one seed", "+0.1000 one seed", "+1.0000 one seed"]
    assert [each.title.partition(":")[0] for each in costs] == ["1m", "2m", "4m"]
    document, svg = ladder(("1m", "2m"), [4.0, 2.2, 2.0, 2.1])
    assert document.tables[0].notes[0].startswith("No power law is fitted: that takes 3 sizes")
    assert "power law" not in document.figures[0][1] and "P^" not in svg


@pytest.mark.parametrize("kind", ["checkpoints", "finals", "rates", "scale"])
def test_nothing_is_guessed_where_nothing_was_run(built, kind):
    jobs = [("", (f"seed={s}", f"model={m}", "optim.lr=0.001")) for s in (0, 1) for m in ("transformer", "fsn")]
    document = built(sweep(kind, jobs, ["seed", "model"]), [None] * 4)
    text = document.markdown()
    assert "not run" in text and "4 of 4 runs are missing" in text and document.figures == []


def test_different_protocols_are_refused(built, record):
    jobs = [("", ("seed=0", f"model={m}")) for m in ("transformer", "fsn")]
    of = sweep("finals", jobs, ["seed", "model"])
    first, second = record("transformer", 2.0).final, record("fsn", 2.0).final | {"bytes": 7}
    (_, a), (_, b) = configured_jobs(of.jobs)
    pairs = [
        ("x", record(c.model.name, 2.0, config=json.loads(json.dumps(config_dict(c))), final=final))
        for c, final in ((a, first), (b, second))
    ]
    (evidence,) = gather(of, pairs)
    with pytest.raises(UserError, match=r"Mine: these runs .* differ in denominator: 5000 \(1 run\), 7 \(1 run\)"):
        add_tables(evidence, Document("mine", "Mine"), None, "mine")
