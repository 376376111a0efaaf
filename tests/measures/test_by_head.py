"""What layers report of themselves reaches the record, and heads that died are named."""

import json

import numpy as np
import pytest
import torch

from configs.compose import compose
from data.language import LanguageData
from data.split import Split
from fsn import FSN
from measures.by_head import by_head, warnings
from training.budget import resolve_shape
from training.build import build_model
from training.meter import NonFiniteError
from training.plan import make_plan
from training.run import run
from training.run_record.record import load_record
from training.run_record.recorder import Recorder

REPORTED = {
    "osn": {"locked_fraction", "order_parameter", "alpha", "K", "theta", "locking_radius"},
    "fsn": {"order_parameter", "null"},
    "transformer": set(),
}


@pytest.mark.parametrize("name", REPORTED)
def test_each_layer_and_head_is_reported(name):
    torch.manual_seed(0)
    asked = [
        f"model={name}",
        "scale=smoke",
        *(["model.local_layers=0", "model.copying_layers=0"] if name == "fsn" else []),
    ]
    model = build_model(resolve_shape(compose("train", asked), 256).model, 256)
    split = np.random.default_rng(0).integers(0, 256, 500, dtype=np.uint8)
    found = by_head(model, Split(split), 100)
    assert set(found) == REPORTED[name]
    for layers in found.values():
        assert len(layers) == len(model.layers) and all(len(heads) == model.layers[0].mixer.n_heads for heads in layers)
    if found:
        windows = torch.from_numpy(split[:400].astype(np.int64)).view(4, 100)
        _, expected = model(windows, return_diagnostics=True)
        for layer, own in enumerate(expected):
            value = own["order_parameter"]
            value = value if value.ndim == 1 else value.mean((0, 2))
            assert found["order_parameter"][layer] == pytest.approx(value.tolist())


def test_a_model_whose_forward_was_replaced_is_reported_all_the_same():
    """As CUDA graphs replace it: another function, which passes on what it is given."""
    torch.manual_seed(0)
    model, split = FSN(n_phases=8, n_layers=2, ff_width=4), Split(np.arange(100, dtype=np.uint8))
    expected, own = by_head(model, split, 50), model.forward
    model.forward = lambda *arguments, **named: own(*arguments, **named)
    assert by_head(model, split, 50) == expected != {}


def test_a_layer_without_heads_reports_none():
    torch.manual_seed(0)
    model = FSN(n_phases=8, n_layers=2, ff_width=4, local_layers=1, copying_layers=1)
    found = by_head(model, Split(np.arange(100, dtype=np.uint8)), 50)
    assert {name: [len(heads) for heads in layers] for name, layers in found.items()} == {
        "order_parameter": [0, 2],
        "null": [0, 2],
    }


def test_heads_that_died_or_lock_everything_are_named():
    assert warnings({"locked_fraction": [[0.3, 0.2], [0.5, 0.94]]}, 100) == []
    assert warnings({}, 100) == []
    dead, full = warnings({"locked_fraction": [[0.3, 0.009], [0.0, 0.96]]}, 100)
    assert dead == "2 of 4 heads lock under 1/100 of the pairs: layer 0 head 1, layer 1 head 0"
    assert full == "1 of 4 heads lock over 95% of the pairs: layer 1 head 1"


def test_a_run_of_an_osn_records_and_warns(make_config, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("measures.by_head.SATURATED", 0.01)
    run(make_config("model=osn", "trainer.max_steps=10", "trainer.val_every=5"))
    record = load_record(tmp_path / "run")
    rows = record.rows("validation")
    assert len(rows) == 2 and all(set(row["synchrony"]) == REPORTED["osn"] for row in rows)
    assert rows[0]["synchrony"]["alpha"] != rows[1]["synchrony"]["alpha"], "it is trained"
    start = record.synchrony_at_start
    assert set(start) == REPORTED["osn"] and start["alpha"] != rows[0]["synchrony"]["alpha"], "before the first step"
    plan = make_plan(make_config("model=osn", "trainer.max_steps=10", "trainer.val_every=5"))
    assert isinstance(plan.data, LanguageData)
    assert start == by_head(plan.model, plan.data.corpus.split("validation"), plan.config.data.context)
    said = capsys.readouterr().err
    assert "warning: run: step 0: " in said and "warning: run: step 5: " in said
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["synchrony"] == rows[-1]["synchrony"]


def test_a_quantity_that_is_not_finite_is_named(make_config, tmp_path):
    record = run(make_config("trainer.max_steps=2"))
    row = {"step": 3, "split": "validation", "synchrony": {"alpha": [[1.0], [float("inf")]]}}
    with pytest.raises(NonFiniteError, match="validation synchrony alpha became inf at step 3"):
        Recorder(record, tmp_path, []).add(row)
