"""Heads of runs side by side, and through eval.py: table, picture, record; step 0 is the run's own."""

import pytest
import torch

from configs.compose import compose
from configs.errors import UserError
from results import heads
from results.evaluate.heads import heads_entry as heads_entry
from training.run import make_plan, run
from training.run_record.trained_run import open_run

SETTINGS = ("scale=smoke", "data=text", "data.context=16", "batch_size=2", "trainer.max_steps=2", "logger=none")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Finished runs of two steps, and their configs: model -> (folder, config)."""
    folder = tmp_path_factory.mktemp("heads")
    corpus = folder / "corpus.txt"
    corpus.write_text("".join(f"x{i} = {i}\n" for i in range(700)), encoding="utf-8")
    made = {}
    for model in ("osn", "transformer"):
        where = [f"data.path={corpus}", f"data.cache_dir={folder / 'cache'}", f"run_dir={folder / model}"]
        config = compose("train", [f"model={model}", "trainer.progress=false", *SETTINGS, *where])
        run(config)
        made[model] = (folder / model, config)
    return made


def test_step_0_is_where_the_run_began(runs):
    for folder, config in runs.values():
        start, last = open_run(str(folder), "start"), open_run(str(folder))
        assert (start.step, start.checkpoint.name, last.step) == (0, "start", 2)
        weights, trained = start.model.state_dict(), last.model.state_dict()
        for name, expected in make_plan(config).model.state_dict().items():
            assert torch.equal(weights[name], expected), name
        assert any(not torch.equal(weights[name], trained[name]) for name in weights)


def test_the_command_prints_every_layer_and_draws(runs, tmp_path, capsys):
    folders = [str(folder) for folder, _ in runs.values()]
    heads.main([*folders, "--checkpoint", "start", "--figure", str(tmp_path / "maps")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| model       | layer | diversity of heads |")
    assert [line.split()[1] for line in lines[2:6]] == ["osn", "osn", "transformer", "transformer"]
    assert (tmp_path / "maps.png").stat().st_size > 5000
    drawn = (tmp_path / "maps.svg").read_text()
    for words in (
        "heads of layer 0 give, after 0 training steps",
        "text, smoke parameters, first 64",
        "tokens of validation; not trained",
    ):
        assert words in drawn
    with pytest.raises(UserError, match="--layer 2: osn has layers 0 to 1"):
        heads.main([*folders, "--layer", "2", "--figure", str(tmp_path / "maps")])


def test_the_record_says_which_form_of_the_operator_fed_the_heads(runs):
    for model, backend, named in (("osn", "auto", "native"), ("osn", "dense", "dense"), ("transformer", "auto", None)):
        opened = open_run(str(runs[model][0]), ssa_backend=backend)
        found = heads_entry(opened, torch.zeros(3, 16, dtype=torch.long), [], "validation")
        assert found.get("ssa") == named, model
        assert (found["task"], found["step"]) == ("synchrony", 2)
        assert (found["windows"], found["context"]) == (3, 16)
