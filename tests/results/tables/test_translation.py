"""The table of translations, from records as runs leave them."""

import json

import pytest

from configs.compose import config_dict
from configs.errors import UserError
from configs.sweeps import Job, Sweep
from results.document import Document
from results.tables.kinds import add_tables, gather_for
from training.run_record.record import DataInfo
from training.sweeps.swept_run import configured_jobs

SETTINGS = ("task=translation", "data=numbers", "scale=smoke", "trainer.max_steps=30", "optim.lr=0.004")


def sweep(seeds):
    jobs = [
        Job((*SETTINGS, f"seed={seed}", f"model={model}")) for seed in seeds for model in ("transformer", "osn", "fsn")
    ]
    return Sweep("ssa-mt", "cpu", "Translation", jobs, ["seed", "model"], kind="translation")


def entry(bleu, **changes):
    return {
        **{"task": "translate", "split": "test", "test": "test", "text_sha256": "cd" * 32, "step": 30, "beam": 4},
        **{"checkpoint": "average of epoch-001.ckpt to epoch-005.ckpt", "averaged": 5, "length_penalty": 0.6},
        **{"nats": 3 - bleu / 20, "truncated": 0, "file": {"name": "translations.de", "sha256": "ee" * 32}},
        **{"bits_per_byte": 1.0, "standard_error": 0.01, "blocks": 50, "targets": 9000, "bytes": 30_000, "pairs": 500},
        **{"sentences": 500, "bleu": bleu, "bleu_signature": "tok:13a", "bleu_mean": bleu, "bleu_interval": 1.25},
        **{"chrf": bleu + 20, "chrf_signature": "nc:6", "bleu_tokenised": bleu + 0.5},
        **changes,
    }


@pytest.fixture
def table(record, tmp_path):
    """`table(seeds, evaluations)`: the document of runs with these evaluations; None: not run."""

    def make(seeds, evaluations, **final):
        of, files = sweep(seeds), []
        for (_, config), entries in zip(configured_jobs(of.jobs), evaluations, strict=True):
            if entries is None:
                continue
            plain = json.loads(json.dumps(config_dict(config)))
            splits = {"train": 90_000, "validation": 5000, "test": 5000}
            info = DataInfo("numbers", "ab" * 32, splits, {"languages": ["en", "de"]}, splits)
            parts = {"total": 60_000, "without_tables": 50_000}
            made = record(config.model.name, 2.0, config.seed, config=plain, data=info, parameters=parts)
            files.append((tmp_path, made))
            made.evaluations = entries
            made.final |= {"epoch": 5.0} | final
        (evidence,) = gather_for(of, files)
        document = Document("ssa-mt", "Translation")
        add_tables(evidence, document, tmp_path, evidence.stem)
        return document

    return make


def test_scores_and_differences_over_seeds(table):
    scores, costs = table((0, 1), [[entry(b)] for b in (30.0, 32.0, 26.0, 30.0, 34.0, 28.0)]).tables
    assert [row["model"] for row in scores.rows] == ["osn", "transformer", "fsn"], "the best first"
    by_model = {row["model"]: row for row in scores.rows}
    assert by_model["osn"]["BLEU"].startswith("33.00 ± ") and by_model["osn"]["chrF"].startswith("53.00 ± ")
    assert by_model["osn"]["BLEU minus transformer"].startswith("+3.00 ± ")
    assert by_model["transformer"]["BLEU"] == "30.00 ± 0.00" and by_model["transformer"]["BLEU minus transformer"] == ""
    assert by_model["fsn"]["BLEU, tokenised"].startswith("27.50 ± ")
    assert "500 sentences (test) from en into de, beam 4, length penalty 0.6" in scores.title
    assert any("tok:13a" in note for note in scores.notes) and any("epoch-005" in note for note in scores.notes)
    assert [row["without tables"] for row in costs.rows] == ["50,000"] * 3


def test_of_one_seed_the_interval_is_over_sentences(table):
    scores, _ = table((0,), [[entry(30.0)], None, [entry(20.0), entry(25.0)]]).tables
    by_model = {row["model"]: row for row in scores.rows}
    assert by_model["transformer"]["BLEU"] == "30.00 ± 1.25"
    assert by_model["fsn"]["BLEU"] == "25.00 ± 1.25", "the newest evaluation"
    assert by_model["fsn"]["BLEU minus transformer"] == "-5.00 one seed"
    assert by_model["osn"]["BLEU"] == "not run"


@pytest.mark.parametrize(
    "changes",
    [
        *({"test": "test_2017_flickr"}, {"step": 20}, {"split": "validation", "test": "validation"}),
        *({"beam": 1}, {"length_penalty": 1.0}, {"averaged": 0, "checkpoint": "last.ckpt"}, {"averaged": 3}),
    ],
)
def test_other_tests_searches_and_weights_are_no_evidence(table, changes):
    """Though newer than the one that counts."""
    other = entry(90.0, **changes)
    scores, _ = table((0,), [[entry(30.0)], [entry(31.0), other], [other]]).tables
    by_model = {row["model"]: row for row in scores.rows}
    assert by_model["osn"]["BLEU"].startswith("31.00") and by_model["fsn"]["BLEU"] == "not run"
    (note,) = [note for note in scores.notes if "Not evaluated on these bytes at the last step: 1 trained run;" in note]
    assert "split=test checkpoint=average" in note


def test_a_run_that_ends_within_an_epoch_has_the_average_of_its_last_whole_ones(table):
    """30 steps are 2.5 epochs of 12: the average is of step 24."""
    of_two = entry(31.0, averaged=2, step=24)
    scores, _ = table((0,), [[of_two], [entry(90.0, averaged=2, step=30)], None], epoch=2.5).tables
    by_model = {row["model"]: row for row in scores.rows}
    assert by_model["transformer"]["BLEU"].startswith("31.00") and by_model["osn"]["BLEU"] == "not run"


def test_without_a_whole_epoch_the_last_checkpoint_counts(table):
    last = entry(31.0, averaged=0, checkpoint="last.ckpt")
    scores, _ = table((0,), [[last], None, None], epoch=0.3).tables
    assert next(row for row in scores.rows if row["model"] == "transformer")["BLEU"].startswith("31.00")


@pytest.mark.parametrize("changes", [{"text_sha256": "ee" * 32}, {"bleu_signature": "tok:none"}])
def test_scores_of_different_texts_or_signatures_are_refused(table, changes):
    with pytest.raises(UserError, match=f"cannot share a table: they differ in {next(iter(changes))}"):
        table((0,), [[entry(30.0)], [entry(31.0, **changes)], None])
