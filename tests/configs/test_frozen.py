"""What goes to another process comes out as it went in."""

import random
from dataclasses import replace

import pytest

from configs.compose import compose, config_hash
from configs.frozen import freeze, thaw


@pytest.mark.parametrize("model", ["transformer", "fsn", "osn", "kuramoto"])
def test_a_config_comes_out_as_it_went_in(model: str) -> None:
    typed = [f"model={model}", "data=text", "data.path=a.txt", "data.split=[0.8,0.1,0.1]", "optim.lr=1e-30"]
    config = compose("train", typed)
    assert thaw(freeze(config)) == config
    assert config_hash(thaw(freeze(config))) == config_hash(config)


def test_text_is_not_resolved_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "known")
    draw = random.Random(0)
    texts = ["${oc.env:SECRET}", "\\${x}", "\\\\${x}", "a\\", "${", "$", "007", "1e3", "null", "a\nb", "é=ü", " "]
    texts += ["".join(draw.choice("\\${}:.x ") for _ in range(draw.randint(1, 9))) for _ in range(50)]
    config = compose("train", ["data=text", "data.path=a.txt"])
    for text in texts:
        sent = replace(config, data=replace(config.data, path=f"x{text}"))
        assert thaw(freeze(sent)).data.path == f"x{text}"
