"""Cost of layers: what is measured alike is put together, ratios and growth are right, operations are counted."""

import json
import math

import pytest

from configs.compose import compose
from configs.errors import UserError
from configs.schema import BLOCKS, LAYERS
from results import target
from results.document import Document
from results.evidence.layer_measurements import (
    PROFILES,
    grouped,
    measure_layer_cost,
    measurement_files,
    read_measurement,
)
from results.tables import layer_cost
from training.benchmarks.layers import forward_flops


def timings(layers, lengths):
    """sdpa: time N, memory N; the layer after it 2 N^2 / 1024, memory 3 N^1.5 / 32."""
    powers = {name: ((1.0, 1.0, 1.0), (2.0, 2.0, 1.5))[index > 0] for index, name in enumerate(layers)}
    return [
        {"layer": name, "tokens": n, "seconds": 1e-3 * factor * 1024 * (n / 1024) ** time, "ratio": factor * n / 1024}
        | {"peak_memory_bytes": round(2**20 * 1024 * (n / 1024) ** memory)}
        for n in lengths
        for name, (factor, time, memory) in powers.items()
    ]


@pytest.fixture
def file(tmp_path):
    """`file(name, layers=.., lengths=.., device=.., KEY=..)`: a measurement as bench.py writes it."""

    def make(name, layers=("sdpa", "ssa_osn"), lengths=(512, 1024, 2048), device="a processor", **changes):
        config = {"task": "layers", "layers": list(layers), "lengths": list(lengths), "d_model": 64, "n_heads": 2}
        config |= {"rounds": 5, "device": "cpu", "precision": "32", "compile": False, "backward": True, "threads": 1}
        content = {"config": config | changes, "device": device, "versions": {"torch": "2.13"}}
        content |= {"git": {"commit": "abcdef0123", "dirty": False}, "timings": timings(layers, lengths)}
        path = tmp_path / f"layers-{name}.json"
        path.write_text(json.dumps(content))
        return path

    return make


def test_every_layer_and_length_has_its_ratios_and_its_growth(file, tmp_path, monkeypatch):
    file("cpu")
    monkeypatch.setattr("results.evidence.layer_measurements.COMMITTED_BENCHES", tmp_path)
    document = layer_cost.layer_cost_document(None, tmp_path, tmp_path / "out")
    costs, growth = document.tables
    # By hand, D = 64: projections 8 D^2, scores and mix 4 N D; SSA adds 16 positional numbers a head to its scores.
    softmax, ours = (8 * 64**2 + 4 * 2048 * 64, 8 * 64**2 + 4 * 2048 * 64 + 2 * 2048 * 16 * 2)
    assert costs.rows[2] == {
        "layer": "sdpa",
        "N": "2,048",
        "tokens/s": "1,000",
        "time / sdpa": "2.00",
        "peak MiB": "2,048.0",
        "memory / sdpa": "1.00",
        "forward MFLOPs per token": f"{softmax / 1e6:.3f}",
        "FLOPs / sdpa": "1.000",
    }
    assert costs.rows[5] | {"peak MiB": "", "tokens/s": ""} == {
        "layer": "ssa_osn",
        "N": "2,048",
        "tokens/s": "",
        "time / sdpa": "4.00",
        "peak MiB": "",
        "memory / sdpa": f"{math.sqrt(2):.2f}",
        "forward MFLOPs per token": f"{ours / 1e6:.3f}",
        "FLOPs / sdpa": f"{ours / softmax:.3f}",
    }
    assert [list(row.values()) for row in growth.rows] == [
        ["sdpa", "1.00", "1.00", "1,024, 2,048"],
        ["ssa_osn", "2.00", "1.50", "1,024, 2,048"],
    ]
    assert f"{100 * (ours / softmax - 1):+.1f} % at 2,048 tokens." in costs.notes[1]
    assert "Not measured at 2,048 tokens: sdpa_bidirectional, softmax_explicit, transformer" in costs.notes[2]
    assert (len(costs.data), costs.data[5]["forward_flops"]) == (6, ours)
    assert [(tmp_path / "out" / f"ssa-cost-cpu.{ending}").stat().st_size > 5000 for ending in ("png", "svg")]


def test_blocks_have_a_table_and_a_figure_of_their_own(file, tmp_path, monkeypatch):
    file("cpu")
    file("cpu-blocks", layers=BLOCKS)
    monkeypatch.setattr("results.evidence.layer_measurements.COMMITTED_BENCHES", tmp_path)
    document = layer_cost.layer_cost_document(None, tmp_path, tmp_path / "out")
    titles = [table.title for table in document.tables]
    assert [title.partition(",")[0] for title in titles[::2]] == ["Attention layers", "Blocks with a feed-forward"]
    assert [row["layer"] for row in document.tables[2].rows] == [name for name in BLOCKS for _ in range(3)]
    assert not any("Not measured" in note for note in document.tables[2].notes)
    assert [stem for stem, _ in document.figures] == ["ssa-cost-cpu", "ssa-cost-cpu-blocks"]


def test_published_and_softmax_attention_cost_the_same_products():
    counts = {name: forward_flops(name, 32, 2, 96) for name in LAYERS}
    softmax, ours = 8 * 32**2 + 4 * 96 * 32, 8 * 32**2 + 4 * 96 * 32 + 2 * 96 * 16 * 2
    assert {counts[name] for name in ("sdpa", "softmax_explicit", "transformer", "published")} == {softmax}
    assert {counts[name] for name in LAYERS if name.startswith("ssa")} == {ours}


def test_devices_and_precisions_have_a_table_each(file, tmp_path, monkeypatch):
    """And passes of one protocol share one: lengths add up."""
    file("cpu", lengths=(512, 1024))
    file("cpu-4096", layers=("sdpa",), lengths=(4096,))
    file("gpu", lengths=(64,), device="a GPU")
    file("half", lengths=(64,), precision="bf16")
    file("threads", lengths=(64,), threads=2)
    monkeypatch.setattr("results.evidence.layer_measurements.COMMITTED_BENCHES", tmp_path)
    groups = grouped([read_measurement(path) for path in measurement_files(None, tmp_path)])
    assert [[one.path.stem for one in group] for group in groups] == [
        ["layers-cpu", "layers-cpu-4096"],
        ["layers-gpu"],
        ["layers-half"],
        ["layers-threads"],
    ]
    document = layer_cost.layer_cost_document("cpu", tmp_path, tmp_path / "out")
    costs, growth = document.tables
    assert [row["N"] for row in costs.rows if row["layer"] == "sdpa"] == ["512", "1,024", "4,096"]
    assert [row["layer"] for row in growth.rows] == ["sdpa"]  # one length of ssa_osn alone counts
    assert [name for name, _ in document.figures] == ["ssa-cost-cpu"]


def test_another_pass_may_measure_the_unit_again_and_the_first_is_shown(file, tmp_path, monkeypatch):
    """Ratios are taken within a pass, so a pass that adds a layer has the unit in it too."""
    file("cpu")
    later = file("cpu-explicit", layers=("sdpa", "softmax_explicit"), lengths=(512, 1024, 2048, 4096))
    content = json.loads(later.read_text())
    for timing in content["timings"]:
        timing["seconds"] *= 10
    later.write_text(json.dumps(content))
    monkeypatch.setattr("results.evidence.layer_measurements.COMMITTED_BENCHES", tmp_path)
    (group,) = grouped([read_measurement(path) for path in measurement_files(None, tmp_path)])
    assert [(t.layer, t.tokens) for t in group[1].timings if t.layer == "sdpa"] == [("sdpa", 4096)]
    document = Document("ssa-cost", "")
    layer_cost.add_layer_cost(group, document, tmp_path)
    rows = {(row["layer"], row["N"]): row for row in document.tables[0].rows}
    assert len(rows) == len(document.tables[0].rows) == 3 + 3 + 4 + 1
    assert [rows["sdpa", n]["tokens/s"] for n in ("2,048", "4,096")] == ["1,000", "100"]
    assert rows["softmax_explicit", "2,048"]["time / sdpa"] == "4.00"  # of its own pass
    assert "share of its peak memory: 1.00 at 1,024, 1.00 at 2,048 tokens." in document.tables[0].notes[2]


def test_measurements_that_contradict_or_differ_in_their_unit_are_refused(file):
    one, other = file("a"), file("b", lengths=(2048, 4096))
    with pytest.raises(UserError, match=r"layers-a.json and .*layers-b.json both measure ssa_osn at 2,048 tokens"):
        grouped([read_measurement(one), read_measurement(other)])
    other = file("b", layers=("transformer", "ssa"))
    with pytest.raises(UserError, match="ratios are to sdpa in one and to transformer in the other"):
        grouped([read_measurement(one), read_measurement(other)])


def test_a_file_that_is_none_is_left_out_and_nothing_is_said_to_be_nothing(file, tmp_path):
    file("cpu", task="steps")
    (tmp_path / "layers-cpu-4096.json").write_text("{")
    document = layer_cost.layer_cost_document("cpu", tmp_path, tmp_path)
    assert "layers-cpu.json is not a measurement of layers: config.task is 'steps'" in document.notes[0]
    assert "; measure again with bench.py task=layers output=" in document.notes[0]
    assert "cannot read" in document.notes[1] and "layers-cpu-4096.json" in document.notes[1]
    assert {row["tokens/s"] for row in document.tables[0].rows} == {"not run"}
    assert "table-ssa-cost profile=cpu" in document.notes[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda content: content["timings"][0].update(seconds="1"),
            r"timings\[0\].seconds is '1': it should",
        ),
        (lambda content: content["timings"][0].update(colour=1), r"timings\[0\].colour is an unknown key"),
        (lambda content: content["timings"].append({}), r"timings\[6\] lacks 'layer'"),
        (lambda content: content["config"].update(layers=[]), r"config.layers is \[\]"),
        (lambda content: content["config"].update(threads=True), "config.threads is True"),
        (lambda content: content["git"].update(dirty="no"), "git.dirty is 'no'"),
        (lambda content: content.update(colour="red"), "colour is an unknown key"),
        (lambda content: content.pop("git"), "it lacks 'git'"),
    ],
)
def test_a_file_of_another_form_says_where_and_what_on_one_line(file, change, message):
    path = file("cpu")
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"is not a measurement of layers: {message}") as error:
        read_measurement(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_measure_every_layer_once_at_each_length(profile):
    configs = [compose("bench", ["task=layers", *own]) for own in PROFILES[profile].values()]
    pairs = [(name, n) for config in configs for name in config.layers for n in config.lengths]
    assert len(set(pairs)) == len(pairs)
    wanted = set(LAYERS if profile == "smoke" else LAYERS + BLOCKS)
    assert {name for name, _ in pairs} == wanted
    assert {config.layers[0] for config in configs} == {"sdpa"} | ({"transformer_block"} & wanted)
    longest = {name for name, n in pairs if n == 4096}
    assert longest == (set() if profile == "smoke" else wanted)
    if profile == "paper":
        assert (configs[0].device, configs[0].backward, configs[0].d_model, configs[0].n_heads) == (
            "cuda",
            False,
            512,
            8,
        )


def test_the_target_measures_and_writes(tmp_path, capfd):
    tiny = ["lengths=[8,12]", "d_model=16", "layers=[sdpa,ssa_osn]", "threads=1"]
    arguments = ["table-ssa-cost", "profile=smoke", f"runs={tmp_path}", f"output={tmp_path / 'out'}", *tiny]
    assert target.main(arguments) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"ssa-cost.{ending}" for ending in ("md", "tex", "csv")} | {
        f"ssa-cost-smoke.{ending}" for ending in ("png", "svg")
    }
    found = measurement_files("smoke", tmp_path / "bench")
    assert [path.name for path in found] == ["layers-smoke.json"]
    assert [(t.layer, t.tokens) for t in read_measurement(found[0]).timings] == [
        (name, n) for n in (8, 12) for name in ("sdpa", "ssa_osn")
    ]
    capfd.readouterr()
    measure_layer_cost("smoke", tmp_path / "bench", tiny)
    assert "measured before" in capfd.readouterr().out


def test_mistakes_at_the_target_are_one_line(tmp_path):
    with pytest.raises(UserError, match=r"rounds=3: nothing is measured without a profile"):
        target.main(["table-ssa-cost", "rounds=3"])
    with pytest.raises(UserError, match="rounds=3: nothing is measured with train=false"):
        target.main(["table-ssa-cost", "profile=cpu", "train=false", "rounds=3"])
    with pytest.raises(UserError, match="type table-ssa-cost"):
        target.main(["table-ssa-costs"])
    with pytest.raises(UserError, match="nearest is 'rounds'"):
        measure_layer_cost("smoke", tmp_path, ["round=3"])
    assert not list(tmp_path.iterdir())
