"""What the committed records say of pairing: seeds do not gain by it, blocks of text do. `UNPAIRED` quotes it."""

import itertools
import math

import numpy as np
import pytest

from measures.statistics import standard_error
from results.evidence.protocol import UNPAIRED
from results.evidence.runs import COMMITTED, identity, read_records
from results.evidence.stored import stored_evaluation

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def records():
    """Those of text; recall of strings has no bits per byte."""
    done = [record for _, record in read_records([COMMITTED])[0] if record.status == "done"]
    return [record for record in done if record.config.get("task", "language") == "language"]


def test_seeds_are_not_paired_because_two_models_hardly_vary_together(records):
    """Pairs of models, with three seeds on the same corpus, size, length and validation bytes."""
    losses = {}
    for record in records:
        final = record.final
        protocol = record.data.sha256, record.config["scale"]["name"], final["bytes"], round(final["tokens"], -4)
        of_model = losses.setdefault(protocol, {}).setdefault(identity(record.config, seed=-1), {})
        of_model[record.seed] = final["bits_per_byte"]
    correlations, paired, unpaired = [], [], []
    for models in losses.values():
        whole = [np.array([seeds[s] for s in SEEDS]) for seeds in models.values() if set(SEEDS) <= seeds.keys()]
        for ours, theirs in itertools.combinations(whole, 2):
            correlations.append(np.corrcoef(ours, theirs)[0, 1])
            paired.append(np.var(ours - theirs, ddof=1))
            unpaired.append(np.var(ours, ddof=1) + np.var(theirs, ddof=1))
    assert len(correlations) > 150
    # New records move these means a little, so the text has round numbers.
    assert "correlate by about 0.1," in UNPAIRED and math.isclose(np.mean(correlations), 0.1, abs_tol=0.1)
    assert "leaves about 100 % of" in UNPAIRED
    assert math.isclose(np.mean(paired) / np.mean(unpaired), 1.0, abs_tol=0.1)


def test_text_is_compared_block_by_block_because_that_leaves_3_percent_of_the_variance(records):
    def sums(record):
        entry = stored_evaluation(record, "copy_depth")
        return None if entry is None else tuple(np.array(entry[key]).sum(1) for key in ("nats", "counts"))

    evaluated = [(record, sums(record)) for record in records if sums(record)]
    plain = [(r, s) for r, s in evaluated if r.config["model"]["name"] == "transformer"]
    left = []
    for record, (nats, counts) in evaluated:
        for transformer, (base, base_counts) in plain:
            same = transformer.seed == record.seed and transformer.config["model"].get("delayed_heads", 0) == 0
            # Runs on other text share no blocks: nothing of theirs can be paired.
            same = same and transformer.data.sha256 == record.data.sha256 and np.array_equal(counts, base_counts)
            if same and record.config["model"]["name"] != "transformer":
                apart = standard_error(nats, counts) ** 2 + standard_error(base, counts) ** 2
                left.append(standard_error(nats - base, counts) ** 2 / apart)
    assert len(left) > 10 and math.isclose(np.mean(left), 0.03, abs_tol=0.01)  # new records move it a little
