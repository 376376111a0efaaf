"""Heads at the start and after training: means, ranges and differences from records, and what is not there."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from configs.errors import UserError
from configs.sweeps import Sweep
from results.document import Document
from results.evidence.protocol import UNPAIRED
from results.evidence.runs import Evidence, Run
from results.evidence.stored import stored_evaluation
from results.tables.kinds import add_tables

MODELS, SEEDS, FINAL = ("transformer", "osn"), (0, 1), 30


def evaluation(step, diversity, entropy, active, **changes):
    """Two layers, two heads each; the second layer has half the diversity."""
    heads = [{"diversity": diversity / n, "entropy": entropy, "active": active} for n in (1, 2)]
    made = {"task": "synchrony", "split": "validation", "checkpoint": "x.ckpt", "step": step, "heads": heads}
    return made | {"windows": 8, "context": 256} | changes


@pytest.fixture
def runs(record):
    """By (model, seed): osn is 0.3 (start) and 0.4 (trained) more diverse, exactly 0.1 a seed apart from that."""
    made = {}
    for model in MODELS:
        for seed in SEEDS:
            own, noise = (0.0 if model == "transformer" else 0.3), 0.1 * seed
            active = [1.0, 1.0] if model == "transformer" else [0.1, 0.3]
            found = record(model, 2.0, seed)
            found.evaluations = [
                evaluation(0, 0.2 + own + noise, [0.9, 0.8 + noise], [1.0, 1.0]),
                evaluation(FINAL, 0.3 + own * 4 / 3 + noise, [0.5, 0.7], active),
            ]
            config = SimpleNamespace(model=SimpleNamespace(name=model), seed=seed)
            path = Path(f"runs/{model}-{seed}/record.json")
            made[model, seed] = Run(model, f"{model} seed={seed}", config, found, path)
    return made


def made_of(runs, tmp_path):
    document = Document("ssa-synchrony", "Heads")
    sweep = Sweep("ssa-synchrony", "cpu", "Heads", [], ["seed"], kind="synchrony")
    add_tables(Evidence(sweep, "text", list(runs)), document, tmp_path, "heads")
    return document


def test_layers_have_means_ranges_and_differences(runs, tmp_path):
    diversity, entropy, active = made_of(runs.values(), tmp_path).tables
    assert [(row["layer"], row["when"]) for row in diversity.rows] == [
        (layer, when) for layer in ("0", "1", "all") for when in ("at the start", "after training")
    ]
    # Seeds 0.2 and 0.3: s = 0.0707, over sqrt(2), times t(1) = 12.706; of the difference t(2) = 4.303 times 0.0707.
    assert diversity.rows[0] == {
        "layer": "0",
        "when": "at the start",
        "transformer": "0.2500 ± 0.6353",
        "osn": "0.5500 ± 0.6353",
        "osn minus transformer": "+0.3000 ± 0.3042 not significant",
    }
    assert diversity.rows[3]["osn minus transformer"] == "+0.2000 ± 0.1521 above"
    assert diversity.rows[5]["osn"] == "0.5625 ± 0.4765"
    # Heads 0.9 and 0.8 in one seed, both 0.9 in the other.
    assert entropy.rows[0]["osn"] == "0.8750 ± 0.3177 (0.85 to 0.90)"
    assert active.rows[0]["osn minus transformer"] == "+0.0000 ± 0.0000 not significant"
    assert active.rows[1]["osn"] == "0.2000 ± 0.0000 (0.10 to 0.30)"
    assert active.rows[1]["osn minus transformer"] == "-0.8000 ± 0.0000 below"
    assert "first 8 validation windows of 256 tokens of text" in active.title
    assert len(diversity.data) == 16 and len(active.data) == 32
    assert {"variant": "osn", "model": "osn", "seed": 1, "when": "after training", "step": FINAL} | {
        "layer": 1,
        "head": 0,
        "active": 0.1,
    } in active.data
    assert all((tmp_path / f"heads.{ending}").stat().st_size > 5000 for ending in ("png", "svg"))


def test_what_heads_lock_over_training_stands_by_layer_and_is_drawn_by_head(runs, tmp_path):
    for seed, off in ((0, 0.0), (1, 0.2)):
        for row, locked in zip(runs["osn", seed].record.metrics, (0.3, 0.2, 0.1), strict=True):
            row["synchrony"] = {"locked_fraction": [[locked + off, locked + off + 0.1], [0.5, 0.5]], "theta": [[1, 1]]}
    document = made_of(runs.values(), tmp_path)
    table = document.tables[-1]
    assert table.title.startswith("osn: locked fraction over training") and len(document.tables) == 4
    assert table.rows[0] == {
        "tokens": "40,960",
        "layer 0": "0.450 ± 1.271 (0.400 to 0.500)",
        "layer 1": "0.500 ± 0.000 (0.500 to 0.500)",
    }
    assert [row["tokens"] for row in table.rows] == ["40,960", "81,920", "122,880"]
    assert len(table.data) == 24 and table.data[-1]["locked_fraction"] == 0.5
    assert (tmp_path / "heads-locking.svg").read_text().count("layer ") >= 2
    assert [name for name, _ in document.figures] == ["heads", "heads-locking"]

    for seed in (0, 1):
        runs["osn", seed].record.synchrony_at_start = {"locked_fraction": [[0.25, 0.35], [0.3, 0.3]]}
    table = made_of(runs.values(), tmp_path).tables[-1]
    assert table.rows[0] == {
        "tokens": "0",
        "layer 0": "0.300 ± 0.000 (0.250 to 0.350)",
        "layer 1": "0.300 ± 0.000 (0.300 to 0.300)",
    }


def test_what_is_not_run_or_not_evaluated_is_said(runs, tmp_path):
    runs["osn", 0].record.evaluations.pop(0)
    runs["osn", 1].record.evaluations.clear()
    runs["transformer", 1] = Run("transformer", "transformer seed=1", runs["transformer", 1].config)
    tables = made_of(runs.values(), tmp_path).tables
    assert [row["osn"] for row in tables[0].rows[:2]] == ["not run", "0.7000 (1 of 2 seeds)"]
    assert tables[0].rows[0]["osn minus transformer"] == ""
    assert tables[0].rows[1]["osn minus transformer"] == "+0.4000 one seed (1 and 1 of 2 seeds)"
    assert tables[2].notes == [
        UNPAIRED,
        "1 of 4 runs is missing: transformer seed=1.",
        "Trained, not evaluated: osn seed=0 at the start, osn seed=1 at the start, osn seed=1 after training; type "
        "`python eval.py run=runs/osn-0 checkpoint=start split=validation task=synchrony`, and so on.",
    ]


def test_a_committed_record_has_no_checkpoint_to_evaluate(runs, tmp_path):
    run = runs["osn", 0]
    run.record.evaluations.clear()
    moved = Run(run.row, run.label, run.config, run.record, Path("results/records/x/osn.json"))
    notes = made_of([moved], tmp_path).tables[2].notes
    assert len(notes) == 1 and "osn seed=0; type `python -m results.target table-ssa-synchrony profile=cpu`" in notes[0]
    assert not list(tmp_path.iterdir())  # nothing to draw


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"windows": 4}, r"denominator: 1024 \(1 run\), 2048 \(7 runs\)"),
        ({"windows": 16, "context": 128}, r"differ in context: 128 \(1 run\), 256 \(7 runs\)"),
    ],
)
def test_other_windows_are_refused(runs, tmp_path, changes, says):
    runs["transformer", 0].record.evaluations[0].update(changes)
    with pytest.raises(UserError, match=says):
        made_of(runs.values(), tmp_path)


def test_old_entries_had_the_run_s_context(runs, tmp_path):
    for run in runs.values():
        for made in run.record.evaluations:
            del made["context"]
    made_of(runs.values(), tmp_path)
    runs["osn", 0].record.config = runs["osn", 0].record.config | {"data": {"context": 128}}
    with pytest.raises(UserError, match="context"):
        made_of(runs.values(), tmp_path)


def test_an_epoch_s_checkpoint_is_not_the_trained_model(runs):
    record = runs["osn", 0].record
    record.evaluations += [evaluation(20, 0.9, [0, 0], [0, 0]), evaluation(30, 0.8, [0, 0], [0, 0], split="test")]
    assert stored_evaluation(record, "synchrony")["step"] == FINAL
    assert stored_evaluation(record, "synchrony", start=True)["step"] == 0
    assert stored_evaluation(record, "synchrony")["heads"][0]["diversity"] == pytest.approx(0.7)


def test_layers_that_one_model_lacks_are_named(runs, tmp_path):
    for seed in SEEDS:
        for made in runs["osn", seed].record.evaluations:
            made["heads"] = made["heads"][:1]
    rows = made_of(runs.values(), tmp_path).tables[0].rows
    assert (rows[2]["osn"], rows[2]["transformer"]) == ("no such layer", "0.1250 ± 0.3177")


def test_a_layer_without_heads_is_named_and_left_out_of_the_mean(runs, tmp_path):
    none = {"diversity": None, "entropy": [], "active": []}
    for seed in SEEDS:
        for made in runs["osn", seed].record.evaluations:
            made["heads"][0] = none
    diversity, entropy, _ = made_of(runs.values(), tmp_path).tables
    for table in (diversity, entropy):
        assert [row["osn"] for row in table.rows[:2]] == ["no heads", "no heads"]
        assert table.rows[4]["osn"].split(" ±")[0] == table.rows[2]["osn"].split(" ±")[0]  # the other layer alone
    assert diversity.rows[0]["osn minus transformer"] == ""
    assert not [line for line in diversity.data if line["variant"] == "osn" and line["layer"] == 0]
    for seed in SEEDS:
        for made in runs["osn", seed].record.evaluations:
            made["heads"] = [none]
    rows = made_of(runs.values(), tmp_path).tables[0].rows
    assert [rows[n]["osn"] for n in (0, 2, 4)] == ["no heads", "no such layer", "no heads"]
