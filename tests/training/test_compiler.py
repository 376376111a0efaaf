"""Machines without a compiler."""

import pytest
import torch
import torch._inductor.config
import torch._inductor.cpp_builder

from configs.errors import UserError
from training.benchmarks.steps import measure
from training.compiler import require_compiler
from training.plan import make_plan
from training.run import run


@pytest.fixture
def no_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "/nonexistent")
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", (None, "/nonexistent"))
    for name in ("get_cpp_compiler", "cpp_compiler_search"):
        getattr(getattr(torch._inductor.cpp_builder, name), "cache_clear", lambda: None)()


def test_without_a_compiler_one_line_says_what_to_type(make_config, tmp_path, no_compiler):
    with pytest.raises(
        UserError, match=r"^compile=true needs a C\+\+ compiler, .*; leave it out, type compile=false"
    ) as e:
        run(make_config("compile=true"))
    assert "\n" not in str(e.value)
    assert not (tmp_path / "run").exists(), "with compile=false the same run_dir can be taken"


def test_whatever_the_compiler_does_is_one_line(make_config, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("cc1plus: out of memory\nand a long trace")

    monkeypatch.setattr(torch, "compile", broken)
    for device in ("cpu", "cuda"):
        with pytest.raises(UserError, match=r"torch cannot compile here \(cc1plus: out of memory\); leave it out"):
            require_compiler(device)
    from configs.compose import compose

    with pytest.raises(UserError, match="compile=true needs"):
        measure(compose("bench", ["compile=true", "scale=smoke"]))
    make_plan(make_config("compile=true", "plan=true"))  # looks only
