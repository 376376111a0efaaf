"""Training losses of 20 steps that a refactor must not move.

They are made again, after a change that is meant to move them, with
`SYNCHRONY_UPDATE_GOLDEN=1 python -m pytest tests/training/test_golden.py`.
"""

import json
import os
from pathlib import Path

import pytest

from configs.schema import MODELS
from training.run import run

GOLDEN = Path(__file__).parents[1] / "golden"
FORMS = {name: [f"model={name}"] for name in sorted(MODELS)}
FORMS["fsn_native-native"] = ["model=fsn_native", "model.feed_forward=native"]


@pytest.mark.parametrize("form", FORMS)
def test_the_first_20_losses(make_config, form):
    # Rates are fixed here, so that tuning them moves no golden loss.
    rates = ["optim.lr=0.005", "optim.embedding_lr=2", "optim.warmup_steps=10"]
    record = run(make_config(*FORMS[form], "trainer.max_steps=20", "trainer.log_every=1", *rates))
    losses = [row["nats"] for row in record.rows("train")]
    assert len(losses) == 20
    path = GOLDEN / f"{form}.json"
    if os.environ.get("SYNCHRONY_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"parameters": record.parameters, "nats": losses}, indent=1) + "\n")
    golden = json.loads(path.read_text())
    assert record.parameters == golden["parameters"]
    assert losses == pytest.approx(golden["nats"], abs=1e-4)
