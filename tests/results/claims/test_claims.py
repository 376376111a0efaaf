"""The claims of the papers: all there, each with its provenance, and a mistake in the file is named."""

import re

import pytest
import yaml

from configs.errors import UserError
from configs.sweeps import expand, names
from results.claims.__main__ import main
from results.claims.claim import Value
from results.claims.cost import LayerCost
from results.claims.load import CHECKS, PATH, load_claims
from results.claims.losses import FinalLevel
from results.claims.sources import Sources
from results.claims.table import claims_document, claims_table, judge
from results.claims.verdict import STATUSES
from results.evidence.runs import COMMITTED
from training.run_record.record import load_record

STATED = [
    *((28.9, None), (28.4, None), (18.3, None), (18.7, None), (15, None), (-30, None), (2, None), (3, None)),
    *((1.5953, 0.0014), (1.611, None), (4, None), (1.637, 0.010), (1.616, 0.004)),
    *((1.468, None), (1.456, None), (1.448, None), (1.452, None), (628, None), (194, None), (1377, None), (5465, None)),
    (0.15, None),
]


def nothing():
    """No record at all, without composing the runs of any sweep."""
    empty = {(name, profile): [] for name in names() for profile in ("cpu", "paper")}
    return Sources([], gathered=empty)


def test_every_number_is_there_once_in_a_claim_with_all_its_fields():
    claims = load_claims()
    values = [(value.value, value.spread) for claim in claims for value in claim.values]
    assert set(STATED) <= set(values)
    for claim in claims:
        texts = (claim.id, claim.table, claim.source, claim.states, claim.unit, claim.note)
        assert all(texts), claim.id
        assert claim.table in (*names(), "ssa-cost"), claim.id
    assert {type(claim.check) for claim in claims if claim.check} == set(CHECKS.values())


def test_what_a_summary_alone_states_is_said_to_be_so():
    of_summary = [claim for claim in load_claims() if claim.source == "a third party's summary of arXiv 2602.14445"]
    assert {value.value for claim in of_summary for value in claim.values} == {
        28.9,
        28.4,
        18.3,
        18.7,
        15,
        -30,
        0.15,
        2,
        3,
    }
    for claim in of_summary:
        assert "From a third party's summary, not from the paper's abstract." in claim.note, claim.id
        assert claim.hindered is not None, claim.id
        assert "no training run" in claim.note or claim.table == "ssa-cost", claim.id
    memory = next(claim for claim in of_summary if claim.id == "Memory of OSN")
    assert "more memory and less throughput" in memory.note
    assert isinstance(memory.check, LayerCost) and memory.check.baselines == ["sdpa", "softmax_explicit"]


def test_a_level_is_judged_only_with_context_batch_and_windows_and_apart_from_the_order():
    claims = {claim.id: claim for claim in load_claims()}
    levels = [claim for claim in claims.values() if isinstance(claim.check, FinalLevel)]
    assert {claim.values[0].value for claim in levels} == {1.5953, 1.611}
    for claim in [*levels, claims["Every 30-epoch seed below 1.611"]]:
        assert judge(claim, nothing()).status == "not comparable"
        assert "context" in claim.hindered.because and "batch" in claim.hindered.because
    for model, words in (("transformer", "our transformer"), ("fsn", "our FSN"), ("osn", "our OSN")):
        path = COMMITTED / "enwiki2015-250k-4m-sliding" / f"{model}-seed3.json"
        by_stride = {made["stride"]: made["bits_per_byte"] for made in load_record(path).evaluations}
        assert f"{words} {by_stride[None] - by_stride[64]:.3f}" in " ".join(levels[0].note.split()), model
    judged = ("Every 30-epoch seed below the transformer's 50", "FSN below the transformer by 0.0157, 50 epochs")
    assert {judge(claims[name], nothing()).status for name in judged} == {"not run"}


def test_what_the_sources_say_of_cost_convergence_and_positions_is_there():
    claims = {claim.id: claim for claim in load_claims()}
    for name, words in {
        "Matched compute": ("budgets", "operations they are not"),
        "Faster convergence of OSN": ("faster", "equal tokens"),
        "Sparse attention of OSN in early epochs": ("early epochs", "no finding"),
        "Complexity of OSN": ("about 0.15 N", "still quadratic"),
        "OSN needs no positional embedding": ("no separate positional encoding", "frequencies of the tokens alone"),
        "OSN's BLEU on WMT-14": ("English-German", "The summary states the language pair"),
    }.items():
        assert words[0] in claims[name].states and words[1] in claims[name].note, name
        assert claims[name].hindered or claims[name].check, name


def test_no_claim_is_a_sentence_of_its_source():
    """Seven words in a row of an abstract are a copy; these are its longest phrases."""
    copied = (
        "validation loss is below a tuned",
        "every thirty-epoch enwik8 seed finishes below",
        "replaced by mean-field coupling to learned collective modes",
        "falls behind the converged transformer at every copy depth",
        "the kernel reverses the deficit at every depth",
        "head-diverse coupling patterns even at initialization",
        "eliminating the need for separate positional encodings",
    )
    text = " ".join(claim.states for claim in load_claims())
    assert not [phrase for phrase in copied if phrase in text]


def test_a_check_names_models_and_rows_that_its_sweep_has():
    """Else it would wait for runs that nobody can make."""
    for claim in load_claims():
        if claim.hindered is not None:
            continue
        jobs = expand(claim.table, "paper").jobs
        overrides = {text for job in jobs for text in job.overrides}
        models = {getattr(claim.check, name, None) for name in ("model", "baseline")} - {None}
        rows = {getattr(claim.check, name, None) for name in ("row", "baseline_row")} - {None}
        scales = getattr(claim.check, "scales", ())
        assert {f"model={model}" for model in models} | {f"scale={scale}" for scale in scales} <= overrides, claim.id
        assert rows <= {job.row for job in jobs}, claim.id


def test_without_records_nothing_is_reproduced_nor_refuted():
    assert {judge(claim, nothing()).status for claim in load_claims()} == {"not run", "not comparable"}


def test_a_value_keeps_the_digits_of_its_source():
    stated = ((1.637, 0.010), (1377, None), (15, None))
    texts = [str(Value(subject="x", value=value, spread=spread)) for value, spread in stated]
    assert texts == ["x 1.637 ± 0.010", "x 1,377", "x 15"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "tolerance: 0.0078",
            "tolerence: 0.008",
            "claim 'FSN's level, 50 epochs': unknown key 'tolerence'; the nearest is 'tolerance'",
        ),
        ("  tolerance: 0.0078\n", "", "claim 'FSN's level, 50 epochs': the key 'tolerance' is missing"),
        ("tolerance: 0.0078", "tolerance: some", "'tolerance' is 'some': input should be a valid number"),
        ("tolerance: 0.0078", "tolerance: true", "'tolerance' is True: input should be a valid number"),
        (
            "kind: level, model",
            "kind: levle, model",
            "check: kind is 'levle', legal are level, .*the nearest is 'level'",
        ),
        ("{kind: level, model", "{model", "check: kind is None, legal are level, "),
        ("kind: level, model", "kind: level, modle", "check: unknown key 'modle'; the nearest is 'model'"),
        ("split: validation, size: 1 M", "size: 1 M", "protocol: the key 'split' is missing"),
        ("split: validation, size", "splt: validation, size", "protocol: unknown key 'splt'; the nearest is 'split'"),
        ("training: 50 epochs}", "training: 50}", "protocol: 'training' is 50: input should be a valid string"),
        (
            "claimed: within",
            "claimed: beside",
            "check: 'claimed' is 'beside': input should be 'above', 'below' or 'within'",
        ),
        ("  tolerance: 0.02\n", "  tolerance: null\n", "claimed: within needs a tolerance, and two values or none"),
        ("spread: 0.0014", "spread: [1]", "values: 'spread' is "),
        ("subject: FSN, value: 1.5953", "subject: FSN", "values: the key 'value' is missing"),
        (
            "status: not run",
            "status: reproduced",
            "hindered: 'status' is 'reproduced': input should be 'not run' or 'not c",
        ),
        ("id: Transformer's level", "id: FSN's level", "two claims have the id 'FSN's level, 50 epochs'"),
        ("check: {kind: active_share", "hindered: null\n  check: {kind: active_share", "say in 'hindered' why"),
        ("- id: FSN's level", "- just words\n- id: FSN's level", "claim '1': 'claim' is 'just words': input should be"),
        ("- id: FSN's level, 50 epochs", "- id: [", "cannot read the claims"),
    ],
)
def test_a_mistake_in_the_file_is_named_in_one_error(tmp_path, old, new, says):
    path, text = tmp_path / "claims.yaml", PATH.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UserError, match=says) as error:
        load_claims(path)
    assert str(path) in str(error.value)


def test_a_file_of_another_form_is_refused(tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"id": "x"}))
    with pytest.raises(UserError, match="is not a list of claims"):
        load_claims(path)


def test_a_table_keeps_a_papers_numbers_and_ours_apart():
    table = claims_table("fsn-enwik8", nothing())
    row = table.rows[0]
    assert row["stated"] == "FSN 1.5953 ± 0.0014 bits per character"
    assert (row["ours, same protocol"], row["status"]) == ("none", "not comparable")
    assert table.notes[0].startswith("FSN's level, 50 epochs: those FSN runs that were completed converge to 1.5953")
    assert "± of ours is a 95 % interval over seeds" in table.notes[-1]
    assert table.data[0]["value"] == 1.5953
    assert table.data[0]["ours"] == ""
    assert claims_table("fsn-ablation", nothing()) is None


def test_all_claims_stand_under_their_status():
    made = claims_document(nothing())
    counts = [int(re.search(r"(.*): (\d+)", table.title)[2]) for table in made.tables]
    assert sum(counts) == len(load_claims())
    assert [table.title.partition(":")[0].lower() for table in made.tables] == list(STATUSES[3:])


def test_the_command_refuses_what_it_does_not_take():
    with pytest.raises(UserError, match="takes output=FOLDER and runs=FOLDER alone"):
        main(["profile=cpu"])


def test_no_loss_counts_as_both_models_of_the_paper_nor_as_no_difference():
    claims = {claim.id: claim for claim in load_claims()}
    fsn, transformer = (claims[f"{name}'s level, 50 epochs"] for name in ("FSN", "Transformer"))
    assert fsn.values[0].value + fsn.tolerance < transformer.values[0].value - transformer.tolerance
    difference = claims["FSN below the transformer by 0.0157, 50 epochs"]
    assert difference.values[0].value - difference.values[1].value + difference.tolerance < 0
