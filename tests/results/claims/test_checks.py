"""What a claim's check says of made records, for each status it can reach."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from configs.sweeps import Sweep
from data.enwik8 import ENWIK8
from data.splits import SPLITS
from results.claims.claim import Claim, Hindered, StatedProtocol, Value
from results.claims.cost import Flops, LayerCost
from results.claims.heads_and_copies import ActiveShare, CopyDepth, StartDiversity
from results.claims.losses import BelowEverywhere, EverySeedBelow, FinalDifference, FinalLevel, LadderBelow
from results.claims.sources import Sources
from results.claims.table import judge, nearest
from results.evidence.runs import Evidence, Run
from training.run_record.record import DataInfo

ENWIK8_DATA = DataInfo("enwik8", ENWIK8.sha256, dict(zip(SPLITS, ENWIK8.split, strict=True)), {})
LEVEL = FinalLevel("fsn", "50 epochs")
SEEDS = (0, 1, 2)


def claim(check, tolerance=None, values=(), hindered=None):
    values = tuple(Value("a model", value, None) for value in values)
    protocol = StatedProtocol("enwik8", "validation", "1 M", "50 epochs")
    return Claim("a claim", "fsn-enwik8", "a paper", "words", values, "bits", protocol, tolerance, "", hindered, check)


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
                made.append(Run(row, f"{row} {scale} {model} {seed}", config, found, Path("record.json")))
        return made

    return make


def sources(paper=(), cpu=(), measured=None, corpus="enwik8"):
    gathered = {
        ("fsn-enwik8", profile): [Evidence(Sweep("fsn-enwik8", profile, "", [], []), corpus, list(runs))]
        for profile, runs in (("paper", paper), ("cpu", cpu))
    }
    return Sources([], measured or {}, gathered)


def after(finals, model="fsn", baseline=2.0):
    """Losses of a model beside a baseline that ends at 2.0 with every seed, near enough."""
    return {"transformer": [baseline, baseline + 0.001, baseline - 0.001], model: finals}


FAR, NEAR, MIXED, FEW = [1.9, 1.901, 1.899], [2.1, 2.101, 2.099], [1.9, 2.1, 2.0], [1.9, 1.901, None]
BELOW = BelowEverywhere("fsn", "transformer", "50 epochs")
SEED = EverySeedBelow("fsn", "50 epochs")
OWN_SEED = EverySeedBelow("fsn", "50 epochs", "transformer", "50 epochs")
UNDER = FinalDifference("fsn", "transformer", "50 epochs", "below")
AS_FAR = claim(UNDER, 0.05, (1.4, 1.5))
TRACKS = claim(FinalDifference("fsn", "transformer", "50 epochs", "level"), 0.02)


@pytest.mark.parametrize(
    ("of", "finals", "status", "says"),
    [
        (claim(LEVEL, 0.01, (1.905,)), FAR, "reproduced", "-0.0050 from the stated value, tolerance 0.01, 3 seeds"),
        (claim(LEVEL, 0.01, (1.92,)), FAR, "not reproduced", "-0.0200 from"),
        (claim(LEVEL, 0.01, (1.9,)), FEW, "not run", "fsn 50 epochs 2 of 3 seeds"),
        (claim(BELOW), FAR, "reproduced", "below at every checkpoint"),
        (claim(BELOW), NEAR, "not reproduced", "contradicted: above it at 3 checkpoints"),
        (claim(BELOW), MIXED, "not reproduced", "nothing contradicts it"),
        (claim(BELOW), FEW, "not run", "fsn 50 epochs 2 of 3 seeds, transformer 50 epochs 3 of 3 seeds"),
        (claim(SEED, values=(1.95,)), FAR, "reproduced", "3 of 3 seeds below 1.9500"),
        (claim(SEED, values=(1.95,)), MIXED, "not reproduced", "1 of 3 seeds"),
        (claim(SEED, values=(1.95,)), FEW, "not run", "2 of 3 seeds"),
        (claim(OWN_SEED), FAR, "reproduced", "3 of 3 seeds below 2.0000"),
        (claim(OWN_SEED), NEAR, "not reproduced", "0 of 3 seeds"),
        (claim(UNDER), FAR, "reproduced", "below, where below is claimed"),
        (claim(UNDER), NEAR, "not reproduced", "above, where below"),
        (claim(UNDER), MIXED, "not reproduced", "not told apart, where below"),
        (claim(UNDER), FEW, "not run", "2 of 3 seeds"),
        (AS_FAR, FAR, "reproduced", "+0.0000 from the stated difference"),
        (AS_FAR, [1.7, 1.701, 1.699], "not reproduced", "-0.2000 from the stated difference"),
        (TRACKS, [2.01, 2.011, 2.009], "reproduced", "within ± 0.02"),
        (TRACKS, FAR, "not reproduced", "outside ± 0.02"),
        (TRACKS, MIXED, "not reproduced", "not wholly within"),
    ],
)
def test_a_claim_about_losses_is_judged(runs, of, finals, status, says):
    verdict = judge(of, sources(paper=runs(after(finals))))
    assert verdict.status == status
    assert says in verdict.why
    assert bool(verdict.ours) == (status != "not run")


@pytest.mark.parametrize("of", [claim(LEVEL, 9.0, (1.9,)), claim(BELOW), claim(SEED, values=(9.0,)), claim(UNDER)])
def test_records_of_another_protocol_reproduce_nothing(runs, of):
    """Another profile, another row, another corpus though it is called enwik8, another split of the same bytes."""
    whole = runs(after(FAR))
    assert judge(of, sources(paper=whole)).status == "reproduced"
    split = {"train": 98_000_000, "validation": 1_000_000, "test": 1_000_000}
    others = [
        sources(cpu=whole),
        sources(paper=runs(after(FAR), row="30 epochs")),
        sources(paper=runs(after(FAR), data=DataInfo("enwik8", "ab" * 32, ENWIK8_DATA.bytes, {}))),
        sources(paper=runs(after(FAR), data=replace(ENWIK8_DATA, bytes=split))),
    ]
    assert [judge(of, other).status for other in others] == ["not run"] * 4


def test_a_record_of_the_corpus_is_found_under_another_name(runs):
    other = runs(after(FAR), data=DataInfo("wiki", "ab" * 32, ENWIK8_DATA.bytes, {}))
    made = sources(paper=other)
    made.gathered["fsn-enwik8", "paper"].append(
        Evidence(made.gathered["fsn-enwik8", "paper"][0].sweep, "mine", runs(after(FAR)))
    )
    assert judge(claim(BELOW), made).status == "reproduced"


@pytest.mark.parametrize("status", ["not run", "not comparable"])
def test_a_hindered_claim_has_no_verdict_whatever_is_recorded(runs, status):
    hindered = claim(BELOW, hindered=Hindered(status, "no length of training is stated"))
    made = sources(paper=runs(after(FAR)), cpu=runs(after(NEAR), row="", scale="250k"), corpus="another")
    verdict = judge(hindered, made)
    assert (verdict.status, verdict.ours, verdict.why) == (status, "", "no length of training is stated")
    assert nearest(hindered, made) == (
        "another, 250k, 0.1 M tokens, 3 seeds: fsn above at 3 of 3 checkpoints; at the last +0.1000 ± 0.0000"
    )


@pytest.mark.parametrize(
    ("of", "says"),
    [
        (claim(LEVEL, 0.01, (1.9,)), "fsn 2.1000 ± 0.0010"),
        (claim(SEED, values=(1.95,)), "fsn below the transformer's mean at equal length in 0 of 3"),
        (claim(UNDER), "fsn 0.1000 ± 0.0000 above the transformer"),
        (claim(LadderBelow("fsn", "transformer", ("1m",))), "fsn 0.1000 ± 0.0000 above the transformer"),
    ],
)
def test_the_nearest_of_ours_names_where_it_is_from(runs, of, says):
    made = sources(cpu=runs(after(NEAR), row="", scale="250k"), corpus="another")
    assert nearest(of, made) == f"another, 250k, 0.1 M tokens, 3 seeds: {says}"
    assert judge(of, made).status == "not run"


def test_a_ladder_needs_every_scale(runs):
    of = claim(LadderBelow("fsn", "transformer", ("1m", "2m")))
    one, two = runs(after(FAR)), runs(after(FAR), scale="2m")
    assert judge(of, sources(paper=one + two)).status == "reproduced"
    assert judge(of, sources(paper=one + runs(after(NEAR), scale="2m"))).why == "1m below, 2m above"
    short = judge(of, sources(paper=one + runs(after(FEW), scale="2m")))
    assert (short.status, "fsn 50 epochs 2m 2 of 3 seeds" in short.why) == ("not run", True)


def test_a_checkpoint_that_one_model_lacks_leaves_every_checkpoint_unjudged(runs):
    made = runs(after(FAR))
    assert judge(claim(BELOW), sources(paper=made)).status == "reproduced"
    early = {"step": 10, "split": "validation", "bytes": 500, "bits_per_byte": 3.0}
    for run in made[:3]:  # the baseline's
        run.record.metrics.append(early)
    verdict = judge(claim(BELOW), sources(paper=made))
    assert verdict.status == "not run" and "checkpoints lack a run" in verdict.why
    for run in made[3:]:
        run.record.metrics.append(early | {"bits_per_byte": 2.9})
    assert judge(claim(BELOW), sources(paper=made)).status == "reproduced"


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
        ((5.0, 5.01, 4.99), "reproduced", "at every depth"),
        ((9.0, 9.01, 8.99), "not reproduced", "contradicted at depth 4+"),
        ((5.0, 9.0, 7.0), "not reproduced", "nothing contradicts it"),
    ],
)
def test_copies_are_judged_from_the_depth_on(runs, deep, status, says):
    """Worse at shallow depths does not count; the paper's claim begins at 4."""
    made = runs(after(FAR))
    for run in made:
        ours = run.model == "fsn"
        run.record.evaluations.append(copies([9.0, 9.0, deep[run.seed]] if ours else [8.0, 8.0, 7.0]))
    verdict = judge(claim(CopyDepth("fsn", "below", 4)), sources(paper=made))
    assert (verdict.status, says in verdict.why) == (status, True)
    assert "of 1 depths from 4 on" in verdict.ours
    made[0].record.evaluations.clear()
    assert judge(claim(CopyDepth("fsn", "below", 4)), sources(paper=made)).status == "not run"


def synchrony(diversity, step=0):
    heads = [{"diversity": diversity, "active": [0.2, 0.4], "entropy": [0.5, 0.5]}]
    return {"task": "synchrony", "split": "validation", "step": step, "heads": heads}


@pytest.mark.parametrize(("ours", "status"), [((0.6, 0.61, 0.59), "reproduced"), ((0.3, 0.6, 0.4), "not reproduced")])
def test_diversity_at_the_start_is_judged(runs, ours, status):
    made = runs(after(FAR, "osn"))
    of = claim(StartDiversity("osn", "transformer"))
    assert judge(of, sources(paper=made)).status == "not run"
    for run in made:
        run.record.evaluations.append(synchrony(ours[run.seed] if run.model == "osn" else 0.45))
        run.record.evaluations.append(synchrony(0.0, step=30))
    assert judge(of, sources(paper=made)).status == status


def test_what_is_told_and_not_judged(runs):
    made = runs(after(FAR, "osn"), row="", scale="250k")
    for run in made:
        run.record.evaluations.append(synchrony(0.5, step=30))
        run.record.config["scale"]["name"] = "250k"
        run.record.flops_per_token = 300 if run.model == "osn" else 200
    near = sources(cpu=made, corpus="another")
    assert nearest(claim(ActiveShare("osn")), near) == "another, 250k, 0.1 M tokens, 3 seeds: 30% after training"
    flops = nearest(claim(Flops("osn", "transformer", "fsn-enwik8")), near)
    assert flops.endswith("osn takes 1.50 times the transformer's: more")
    timings = [
        {"layer": layer, "tokens": n, "seconds": 2.0, "ratio": ratio, "peak_memory_bytes": memory}
        for n in (128, 2048)
        for layer, ratio, memory in (("sdpa", 1.0, 100), ("ssa", 1.5, 90))
    ]
    config = {"task": "layers", "layers": ["sdpa", "ssa"], "d_model": 512, "n_heads": 8, "backward": True}
    cost = sources(measured={"layers.json": {"config": config, "device": "a processor", "timings": timings}})
    where = "a processor, width 512, 8 heads, N = 2,048, forward and backward: "
    assert (
        nearest(claim(LayerCost(("ssa", "ssa_osn"), "sdpa", "time")), cost)
        == f"{where}ssa 1.50 times sdpa's time: more"
    )
    assert nearest(claim(LayerCost(("ssa",), "sdpa", "memory")), cost) == f"{where}ssa 0.90 times sdpa's memory"
