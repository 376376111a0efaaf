"""The losses on texts that no run was trained on."""

import json
import math

import pytest

from configs.compose import config_dict
from configs.sweeps import Job, Sweep
from results.document import Document
from results.tables.kinds import add_tables, gather_for
from training.sweeps.swept_run import configured_jobs

TEXT = {"name": "wiki.test.raw", "sha256": "cd" * 32, "bytes": 1000, "words": 250}


def entry(bits, **changes):
    words = {"words": 250, "word_normalised_perplexity": 2 ** (4 * bits)}  # of 4 bytes each
    loss = {"bits_per_byte": bits, "bytes": 1000, "max_bytes": None, "stride": None, "context": 64, "step": 2000}
    return {"split": "text", "text": TEXT} | loss | words | changes


@pytest.fixture
def tables(record, tmp_path):
    """`tables(evaluations by model and seed)`: those of the document whose title begins with `Loss on`."""

    def make(evaluations):
        shared = ("data=stdlib", "scale=smoke", "trainer.max_steps=2000")
        jobs = [Job((*shared, f"seed={seed}", f"model={model}"), model) for model, seed in evaluations]
        of = Sweep("lm-tokens", "cpu", "Tokens", jobs, ["seed"])
        files = []
        for (job, config), entries in zip(configured_jobs(jobs), evaluations.values(), strict=True):
            made = record(job.row, 2.0, config.seed, config=json.loads(json.dumps(config_dict(config))))
            made.final |= {"step": 2000}
            made.evaluations = entries
            files.append((tmp_path, made))
        (evidence,) = gather_for(of, files)
        document = Document("lm-tokens", "Tokens")
        add_tables(evidence, document, tmp_path, evidence.stem)
        return [table for table in document.tables if table.title.startswith("Loss on")]

    return make


def test_means_differences_and_perplexity_per_word(tables):
    (table,) = tables(
        {
            ("transformer", 0): [entry(2.2)],
            ("transformer", 1): [entry(2.4)],
            ("osn", 0): [entry(9.9), entry(2.0)],
            ("osn", 1): [entry(2.2)],
        }
    )
    assert "wiki.test.raw (SHA-256 cdcdcdcdcdcd...), another corpus: 1,000 bytes, 250 words" in table.title
    osn, transformer = table.rows
    assert (osn["variant"], transformer["variant"]) == ("osn", "transformer"), "the best first"
    assert osn["bits per byte"].startswith("2.1000 ± "), "the newest evaluation of a run"
    assert osn["minus transformer"].startswith("-0.2000 ± ") and transformer["minus transformer"] == ""
    mean = (2**8 + 2**8.8) / 2
    assert osn["word-normalised perplexity"].startswith(f"{mean:.2f} ± ")
    assert not math.isclose(mean, 2 ** (4 * 2.1), rel_tol=0.01), "a mean of perplexities, not the perplexity of a mean"


def test_each_text_and_protocol_has_a_table_and_parts_or_earlier_steps_none(tables):
    of_test = {"split": "test", "text": None}
    made = tables(
        {
            ("transformer", 0): [
                entry(2.2),
                entry(2.1, stride=16),
                entry(2.3, **of_test),
                entry(1.0, max_bytes=500, bytes=500),
                entry(1.1, step=1000),
                entry(1.2, split="validation", text=None),
                entry(1.3, task="copy_depth"),
            ]
        }
    )
    assert [table.rows[0]["bits per byte"].split()[0] for table in made] == ["2.2000", "2.1000", "2.3000"]
    assert "slide by 16" in made[1].title and "the test split of" in made[2].title
