"""What a claim's check says of made records, for each status it can reach."""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from configs.sweeps import Sweep
from data.cuts import SPLITS
from data.enwik8 import ENWIK8
from measures.statistics import Estimate
from results.claims.cost import Flops, Growth, LayerCost
from results.claims.heads_and_copies import ActiveShare, CopyDepth, LockedEarly, StartDiversity
from results.claims.load import Claim
from results.claims.losses import EveryCheckpoint, EverySeed, FinalDifference, FinalLevel, Ladder
from results.claims.sources import Measured, Sources
from results.claims.table import judge, nearest
from results.claims.verdict import AT_THE_EDGE, side_of_band, status_of
from results.evidence.layer_measurements import Measurement
from results.evidence.runs import Evidence, Run
from training.benchmarks.layers import LayerTiming
from training.run_record.record import DataInfo

ENWIK8_DATA = DataInfo("enwik8", ENWIK8.sha256, dict(zip(SPLITS, ENWIK8.split, strict=True)), {})
SEEDS = (0, 1, 2)
KNOWN = {"context": 256, "batch": 16, "windows": "reset"}


def claim(check, tolerance=None, values=(), hindered=None, **protocol):
    entry = {
        "id": "a claim",
        "table": "fsn-enwik8",
        "source": "a paper",
        "states": "words",
        "unit": "bits",
        "note": "why",
    }
    protocol = {"corpus": "enwik8", "split": "validation", "size": "1 M", "training": "50 epochs"} | protocol
    entry |= {"values": [{"subject": "a model", "value": value, "spread": None} for value in values]}
    return Claim(**entry, protocol=protocol, tolerance=tolerance, hindered=hindered, check=check)


def shown(check):
    """A claim whose check cannot judge."""
    return claim(check, hindered={"status": "not comparable", "because": "no shape"})


@pytest.fixture
def runs(record):
    """`runs({model: finals by seed}, row)`: runs of a sweep on enwik8; a final of None is a run without a record."""

    def make(losses, row="50 epochs", scale="1m", data=ENWIK8_DATA, **changes):
        made = []
        for model, finals in losses.items():
            for seed, bits in enumerate(finals):
                config = SimpleNamespace(
                    model=SimpleNamespace(name=model), seed=seed, scale=SimpleNamespace(name=scale)
                )
                found = None if bits is None else record(model, bits, seed, data=data, **changes)
                if found:
                    found.config["batch_size"] = 16
                made.append(Run(row, f"{row} {scale} {model} {seed}", config, found, Path("record.json")))
        return made

    return make


def sources(paper=(), cpu=(), corpus="enwik8", **measured):
    gathered = {
        ("fsn-enwik8", profile): [Evidence(Sweep("fsn-enwik8", profile, "", [], []), corpus, list(runs))]
        for profile, runs in (("paper", paper), ("cpu", cpu))
    }
    return Sources([], Measured(**measured), gathered)


def after(finals, model="fsn", baseline=2.0):
    """Losses of a model beside a baseline that ends at 2.0 with every seed, near enough."""
    return {"transformer": [baseline, baseline + 0.001, baseline - 0.001], model: finals}


FAR, NEAR, MIXED, FEW = [1.9, 1.901, 1.899], [2.1, 2.101, 2.099], [1.9, 2.1, 2.0], [1.9, 1.901, None]
BOTH = {"model": "fsn", "baseline": "transformer", "row": "50 epochs"}
LEVEL = FinalLevel(model="fsn", row="50 epochs")
BELOW = EveryCheckpoint(claimed="below", **BOTH)
SEED = EverySeed(claimed="below", **BOTH)
UNDER = FinalDifference(claimed="below", **BOTH)
WITHIN = FinalDifference(claimed="within", **BOTH)
AS_FAR, TRACKS = claim(WITHIN, 0.05, (1.4, 1.5)), claim(WITHIN, 0.02)


@pytest.mark.parametrize(
    ("asked", "finals", "status", "says"),
    [
        (
            claim(LEVEL, 0.01, (1.905,), **KNOWN),
            FAR,
            "reproduced",
            "-0.0050 from the stated value, within its tolerance",
        ),
        (claim(LEVEL, 0.01, (1.92,), **KNOWN), FAR, "not reproduced", "-0.0200 from the stated value, outside its"),
        (claim(LEVEL, 0.01, (1.91,), **KNOWN), FAR, "inconclusive", "neither within nor outside its tolerance of 0.01"),
        (claim(LEVEL, 0.01, (1.9,), **KNOWN), FEW, "not run", "fsn 50 epochs 2 of 3 seeds"),
        (claim(LEVEL, 0.01, (1.905,), **KNOWN | {"context": 512}), FAR, "not run", "another context or batch"),
        (claim(LEVEL, 0.01, (1.905,), **KNOWN | {"batch": 8}), FAR, "not run", "another context or batch"),
        (claim(BELOW), FAR, "reproduced", "below at every checkpoint; 95 % interval over seeds, 3 seeds"),
        (claim(BELOW), NEAR, "not reproduced", "above at step 10 on 5000 bytes, step 20 on 5000 bytes"),
        (claim(BELOW), MIXED, "inconclusive", "below at 0 of 3 checkpoints, and nowhere significantly against it"),
        (claim(BELOW), FEW, "not run", "fsn 50 epochs 2 of 3 seeds, transformer 50 epochs 3 of 3 seeds"),
        (claim(SEED), FAR, "reproduced", "below at every seed"),
        (claim(SEED), NEAR, "not reproduced", "above at seed 0, seed 1, seed 2, where below is claimed"),
        (claim(SEED), MIXED, "not reproduced", "above at seed 1, where"),
        (claim(SEED), [1.9, 1.9, 2.001], "inconclusive", "below at 2 of 3 seeds"),
        (claim(SEED), FEW, "not run", "2 of 3 seeds"),
        (claim(UNDER), FAR, "reproduced", "below, where below is claimed"),
        (claim(UNDER), NEAR, "not reproduced", "above, where below"),
        (claim(UNDER), MIXED, "inconclusive", "not significant, where below"),
        (claim(UNDER), FEW, "not run", "2 of 3 seeds"),
        (AS_FAR, FAR, "reproduced", "within, where within 0.05 of -0.1000 is claimed"),
        (AS_FAR, [1.7, 1.701, 1.699], "not reproduced", "outside, where within 0.05 of -0.1000"),
        (TRACKS, [2.01, 2.011, 2.009], "reproduced", "within, where within 0.02 of +0.0000"),
        (TRACKS, FAR, "not reproduced", "outside, where"),
        (TRACKS, MIXED, "inconclusive", "neither within nor outside, where"),
    ],
)
def test_a_claim_about_losses_is_judged(runs, asked, finals, status, says):
    verdict = judge(asked, sources(paper=runs(after(finals))))
    assert verdict.status == status
    assert says in verdict.why.replace(",000", "000")
    assert bool(verdict.ours) == (status != "not run")


@pytest.mark.parametrize("lacking", [{"context": None}, {"batch": None}, {"windows": None}, {"windows": "sliding, 64"}])
def test_a_level_of_another_or_an_unknown_protocol_is_refused(lacking):
    with pytest.raises(ValueError, match="a level is judged only where its protocol states context, batch and windows"):
        claim(LEVEL, 0.01, (1.9,), **KNOWN | lacking)
    because = {"status": "not comparable", "because": "not stated"}
    assert claim(LEVEL, 0.01, (1.9,), because, **KNOWN | lacking).hindered.because == "not stated"


def test_one_seed_of_each_decides_nothing(runs):
    one = sources(paper=runs({"transformer": [2.0], "fsn": [1.0]}))
    for check in (BELOW, SEED, UNDER):
        verdict = judge(claim(check), one)
        assert (verdict.status, "±" in verdict.ours) == ("inconclusive", False)
    assert judge(claim(LEVEL, 0.01, (1.0,), **KNOWN), one).status == "inconclusive"
    assert judge(AS_FAR, one).status == judge(TRACKS, one).status == "inconclusive"


@pytest.mark.parametrize(
    ("sides", "status"),
    [
        (["below"], "reproduced"),
        (["below", "below", "not significant"], "inconclusive"),
        (["below", "not significant", "above"], "not reproduced"),
        (["one seed"], "inconclusive"),
        (["below", "no interval"], "inconclusive"),
        (["outside"], "not reproduced"),
        ([], "inconclusive"),
    ],
)
def test_one_rule_decides_from_the_sides_of_all_intervals(sides, status):
    assert status_of(sides, "below") == status


def test_the_whole_interval_has_to_be_in_the_band_or_out_of_it():
    assert side_of_band(Estimate(0.11, 0.01), 0.1, 0.02) == "within"
    assert side_of_band(Estimate(0.13, 0.0099), 0.1, 0.02) == "outside"
    assert side_of_band(Estimate(0.07, 0.0101), 0.1, 0.02) == AT_THE_EDGE
    assert side_of_band(Estimate(0.1, math.nan), 0.1, 0.02) == "one seed"


@pytest.mark.parametrize("asked", [claim(LEVEL, 9.0, (1.9,), **KNOWN), claim(BELOW), claim(SEED), claim(UNDER)])
def test_records_of_another_protocol_reproduce_nothing(runs, asked):
    """Another profile, another row, another corpus though it is called enwik8, another split of the same bytes."""
    whole = runs(after(FAR))
    assert judge(asked, sources(paper=whole)).status == "reproduced"
    split = {"train": 98_000_000, "validation": 1_000_000, "test": 1_000_000}
    others = [
        sources(cpu=whole),
        sources(paper=runs(after(FAR), row="30 epochs")),
        sources(paper=runs(after(FAR), data=DataInfo("enwik8", "ab" * 32, ENWIK8_DATA.bytes, {}))),
        sources(paper=runs(after(FAR), data=replace(ENWIK8_DATA, bytes=split))),
    ]
    assert [judge(asked, other).status for other in others] == ["not run"] * 4


def test_a_record_of_the_corpus_is_found_under_another_name(runs):
    other = runs(after(FAR), data=DataInfo("wiki", "ab" * 32, ENWIK8_DATA.bytes, {}))
    both = sources(paper=other)
    both.gathered["fsn-enwik8", "paper"].append(
        Evidence(both.gathered["fsn-enwik8", "paper"][0].sweep, "mine", runs(after(FAR)))
    )
    assert judge(claim(BELOW), both).status == "reproduced"


@pytest.mark.parametrize("status", ["not run", "not comparable"])
def test_a_hindered_claim_has_no_verdict_whatever_is_recorded(runs, status):
    hindered = claim(BELOW, hindered={"status": status, "because": "no length of training is stated"})
    recorded = sources(paper=runs(after(FAR)), cpu=runs(after(NEAR), row="", scale="250k"), corpus="another")
    verdict = judge(hindered, recorded)
    assert (verdict.status, verdict.ours, verdict.why) == (status, "", "no length of training is stated")
    assert nearest(hindered, recorded).startswith(
        "another, 250k, 0.1 M tokens, 3 seeds: fsn minus transformer: step 10 on 5,000 bytes +0.1000 ± 0.0023 (above), "
    )


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (claim(LEVEL, 0.01, (1.9,), **KNOWN), "fsn 2.1000 ± 0.0025"),
        (
            claim(SEED),
            "fsn minus transformer: seed 0 +0.1000 ± 0.0025 (above), seed 1 +0.1010 ± 0.0025 (above), seed 2 ",
        ),
        (claim(UNDER), "fsn minus transformer: +0.1000 ± 0.0023 (above)"),
        (claim(WITHIN, 0.02), "fsn minus transformer: +0.1000 ± 0.0023 (above)"),
        (
            claim(Ladder(model="fsn", baseline="transformer", claimed="below", scales=["1m"])),
            "fsn minus transformer: +0.1000 ± 0.0023 (above)",
        ),
    ],
)
def test_the_nearest_of_ours_names_where_it_is_from(runs, asked, says):
    recorded = sources(cpu=runs(after(NEAR), row="", scale="250k"), corpus="another")
    assert nearest(asked, recorded).startswith(f"another, 250k, 0.1 M tokens, 3 seeds: {says}")
    assert judge(asked, recorded).status == "not run"


def test_a_model_beside_itself_is_told_by_its_row(runs):
    check = FinalDifference(claimed="within", model="fsn", row="no lag", baseline="fsn", baseline_row="whole")
    recorded = sources(cpu=runs({"fsn": NEAR}, row="no lag") + runs({"fsn": FAR}, row="whole"))
    assert "fsn (no lag) minus fsn: +0.2000" in nearest(claim(check, 0.02), recorded)


def test_many_estimates_are_counted_and_the_last_is_shown(runs):
    recorded = runs(after(NEAR))
    for run in recorded:
        for step in (1, 2, 3):
            row = {"step": step, "split": "validation", "bytes": 500, "bits_per_byte": 3.0 + run.seed * (step - 1)}
            run.record.metrics.append(row)
    ours = judge(claim(BELOW), sources(paper=recorded)).ours
    assert ours == "not significant at 3, above at 3 of 6 checkpoints; step 30 on 5,000 bytes +0.1000 ± 0.0023 (above)"


def test_a_ladder_needs_every_scale(runs):
    asked = claim(Ladder(model="fsn", baseline="transformer", claimed="below", scales=["1m", "2m"]))
    one, two = runs(after(FAR)), runs(after(FAR), scale="2m")
    beyond = runs(after(NEAR), scale="8m")
    assert judge(asked, sources(paper=one + two + beyond)).status == "reproduced"
    other = judge(asked, sources(paper=one + runs(after(NEAR), scale="2m")))
    assert (other.status, other.why.partition(",")[0]) == ("not reproduced", "above at 2m")
    assert judge(asked, sources(paper=one + runs(after(MIXED), scale="2m"))).status == "inconclusive"
    short = judge(asked, sources(paper=one + runs(after(FEW), scale="2m")))
    assert (short.status, "fsn 50 epochs 2m 2 of 3 seeds" in short.why) == ("not run", True)


def test_a_checkpoint_that_one_model_lacks_leaves_every_checkpoint_unjudged(runs):
    recorded = runs(after(FAR))
    assert judge(claim(BELOW), sources(paper=recorded)).status == "reproduced"
    early = {"step": 10, "split": "validation", "bytes": 500, "bits_per_byte": 3.0}
    for run in recorded[:3]:  # the baseline's
        run.record.metrics.append(early)
    verdict = judge(claim(BELOW), sources(paper=recorded))
    assert verdict.status == "not run" and "1 of 4 checkpoints lack a run" in verdict.why
    for run in recorded[3:]:
        assert "1 of 4" in judge(claim(BELOW), sources(paper=recorded)).why
        run.record.metrics.append(early | {"bits_per_byte": 2.9})
    assert judge(claim(BELOW), sources(paper=recorded)).status == "reproduced"


def copies(nats):
    """An evaluation in eight blocks: depth 0, 2-3 and 4+, and a depth without bytes; by distance nothing."""
    entry = {"task": "copy_depth", "split": "validation", "step": 30, "depths": ["0", "2-3", "4+", "99+"]}
    entry |= {
        "bytes": 1_000_000,
        "context": 256,
        "distances": [],
        "by_distance": {"depths": [], "counts": [], "nats": []},
    }
    return entry | {"counts": [[10, 10, 10, 0]] * 8, "nats": [[*nats, 0.0]] * 8}


@pytest.mark.parametrize(
    ("deep", "status", "says"),
    [
        ((5.0, 5.01, 4.99), "reproduced", "below, where below is claimed"),
        ((9.0, 9.01, 8.99), "not reproduced", "above, where"),
        ((5.0, 9.0, 7.0), "inconclusive", "not significant, where"),
    ],
)
def test_copies_are_judged_from_the_depth_on(runs, deep, status, says):
    """Worse at shallow depths does not count; the paper's claim begins at 4."""
    evaluated = runs(after(FAR))
    for run in evaluated:
        ours = run.model == "fsn"
        run.record.evaluations.append(copies([9.0, 9.0, deep[run.seed]] if ours else [8.0, 8.0, 7.0]))
    asked = claim(CopyDepth(model="fsn", claimed="below", first=4))
    verdict = judge(asked, sources(paper=evaluated))
    assert (verdict.status, says in verdict.why, "over text and seeds" in verdict.why) == (status, True, True)
    every = judge(claim(CopyDepth(model="fsn", claimed="below", first=0)), sources(paper=evaluated))
    assert every.status == "not reproduced" and "above at depth 0, depth 2-3" in every.why
    evaluated[0].record.evaluations.clear()
    assert judge(asked, sources(paper=evaluated)).why == "5 of 6 runs evaluated: eval.py task=copy_depth"
    assert "2 seeds" not in nearest(asked, sources(cpu=evaluated))
    evaluated[3].record.evaluations.clear()
    assert "2 seeds: fsn minus transformer" in nearest(asked, sources(cpu=evaluated))


def synchrony(diversity, step=0):
    heads = [{"diversity": diversity, "active": [0.2, 0.4], "entropy": [0.5, 0.5]}]
    return {"task": "synchrony", "split": "validation", "step": step, "heads": heads}


@pytest.mark.parametrize(
    ("ours", "status"),
    [
        ((0.6, 0.61, 0.59), "reproduced"),
        ((0.3, 0.6, 0.4), "inconclusive"),
        ((0.3, 0.31, 0.29), "not reproduced"),
    ],
)
def test_diversity_at_the_start_is_judged(runs, ours, status):
    recorded = runs(after(FAR, "osn"))
    asked = claim(StartDiversity(model="osn", baseline="transformer", claimed="above"))
    assert judge(asked, sources(paper=recorded)).status == "not run"
    for run in recorded:
        run.record.evaluations.append(synchrony(ours[run.seed] if run.model == "osn" else 0.45))
        run.record.evaluations.append(synchrony(0.0, step=30))
    assert judge(asked, sources(paper=recorded)).status == status
    of_heads = [
        {"config": {"model": {"name": name}, "scale": {"name": "1m"}}, "data": {"name": "text"}, "step": 0}
        | {"heads": [{"diversity": value}]}
        for name, value in (("osn", 0.5), ("transformer", 0.4))
    ]
    texts = nearest(asked, sources(cpu=recorded, heads=[of_heads])).split("; ")
    assert texts[0].startswith("enwik8, 1m, at the start, 3 seeds: osn minus transformer: ")
    assert texts[1] == "text, 1m, at the start, one seed: osn 0.500, transformer 0.400"


def test_what_is_shown_and_not_judged(runs):
    recorded = runs(after(FAR, "osn"), row="", scale="250k")
    for run in recorded:
        run.record.evaluations.append(synchrony(0.5, step=30))
        run.record.flops_per_token = 300 if run.model == "osn" else 200
        for share, row in zip((0.3, 0.2, 0.1), run.record.rows("validation"), strict=True):
            row["synchrony"] = {"locked_fraction": [[share, share + 0.1]]} if run.model == "osn" else {}
    cpu = sources(cpu=recorded, corpus="another")
    where = "another, 250k, 0.1 M tokens, 3 seeds: "
    assert nearest(shown(ActiveShare(model="osn")), cpu) == f"{where}30% after training"
    locked = nearest(shown(LockedEarly(model="osn")), cpu)
    assert locked == f"{where}35% after 40,960 tokens, 25% after 81,920 tokens, 15% after 0.1 M tokens"
    flops = nearest(shown(Flops(model="osn", baseline="transformer", sweep="fsn-enwik8")), cpu)
    assert flops.endswith(
        "whole models of 250k at N = 256, matrix products of a training step: osn takes 1.50 times the transformer's"
    )


def measured(name, layers, lengths=(1024, 2048), **config):
    """A measurement of layers, name -> (b, bytes): 2 N^b seconds, and N times the bytes at the peak."""
    timings = [
        LayerTiming(layer, n, 2.0 * n**b, 1.5 * (k + 1), memory * n)
        for n in lengths
        for k, (layer, (b, memory)) in enumerate(layers.items())
    ]
    config = {
        "layers": list(layers),
        "d_model": 64,
        "n_heads": 2,
        "backward": True,
        "device": "cpu",
        "threads": 1,
    } | config
    return Measurement(Path(name), config, "a processor", {}, {}, timings)


def test_costs_of_layers_are_given_against_each_baseline_that_was_measured():
    cost = sources(layers=[[measured("layers.json", {"sdpa": (1, 100), "ssa": (2, 90), "softmax_explicit": (2, 900)})]])
    where = "a processor, 1 thread, width 64, 2 heads, forward and backward, N = 2,048: "

    def cost_of(quantity, *baselines, layers=("ssa", "ssa_osn")):
        return nearest(shown(LayerCost(layers=list(layers), baselines=list(baselines), quantity=quantity)), cost)

    assert (
        cost_of("memory", "sdpa")
        == cost_of("memory", "sdpa", "never measured")
        == f"{where}ssa 0.90 times sdpa's memory"
    )
    both = cost_of("memory", "sdpa", "softmax_explicit").split("; ")
    assert both == [f"{where}ssa 0.90 times sdpa's memory", f"{where}ssa 0.10 times softmax_explicit's memory"]
    # Ratios within a pass, whatever the seconds are: those of two passes do not compare.
    assert cost_of("time", "sdpa") == f"{where}ssa 2.00 times sdpa's time"
    assert cost_of("time", "softmax_explicit") == f"{where}ssa 0.67 times softmax_explicit's time"
    assert cost_of("FLOPs", "sdpa").startswith("width 64, 2 heads, N = 2,048: ssa 1.24")
    growth = nearest(shown(Growth(layers=["sdpa", "ssa", "fsn"], quantity="time")), cost)
    assert growth.endswith("time from N = 1,024 on: sdpa N^1.00, ssa N^2.00")


def test_passes_of_one_protocol_are_one_line_at_the_greatest_length():
    passes = [
        measured("a.json", {"sdpa": (1, 100), "ssa": (1, 90)}, (1024,)),
        measured("b.json", {"sdpa": (1, 9)}, (4096,)),
    ]
    claimed = shown(LayerCost(layers=["ssa"], baselines=["sdpa"], quantity="memory"))
    assert nearest(claimed, sources(layers=[passes])).endswith("N = 1,024: ssa 0.90 times sdpa's memory")


def test_threads_are_named_for_time_and_not_for_flops():
    groups = [[measured(f"{n}.json", {"sdpa": (1, 100), "ssa": (2, 90)}, threads=n)] for n in (1, 2)]

    def texts(quantity):
        claimed = shown(LayerCost(layers=["ssa"], baselines=["sdpa"], quantity=quantity))
        return nearest(claimed, sources(layers=groups)).split("; ")

    assert [text.partition(", width")[0] for text in texts("time")] == [
        "a processor, 1 thread",
        "a processor, 2 threads",
    ]
    assert len(texts("FLOPs")) == 1
