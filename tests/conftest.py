"""A tiny run: a made text whose epoch has 20 steps, and a model of 50 thousand parameters."""

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from configs import heartbeat
from configs.compose import compose
from configs.schema import RunConfig
from training.run import run
from training.signals import Interrupted
from training.sweeps import parameter_memory
from training.sweeps.own_process import Failure, OwnProcesses, train_here

# key=value as an error prints it: in quotes of either kind, or up to a space.
TYPED = re.compile(r""""[^"]+"|'(?:[^']|'"'"')+'(?=[ ;,]|$)|[+\w./]+=(?:\[[^\]]*\]|[^\s,;]+)""")
heartbeat.SILENCE = float("inf")  # what a test reads of stderr must not depend on the load of the machine


def pytest_runtest_setup(item: pytest.Item) -> None:
    """`pytest -m cuda` runs the tests that need an NVIDIA GPU; where there is none they are skipped."""
    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")


@pytest.fixture(autouse=True)
def float32_products() -> Iterator[None]:
    """A run has a GPU take its float32 products in TF32, for the whole process: not those of the next test."""
    yield
    torch.set_float32_matmul_precision("highest")


@pytest.fixture(autouse=True, scope="session")
def no_memory_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither believe nor write what sweeps of the user remember of parameter counts."""
    file = tmp_path_factory.mktemp("memory") / "parameters.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parameter_memory, "place", lambda: file)
        yield


def made_text(n_bytes: int, seed: int = 1) -> bytes:
    """Pseudo-random words, the same on every machine and for ever."""
    words, state = [], seed
    while sum(map(len, words)) < n_bytes:
        state = (1103515245 * state + 12345) % 2**31
        words.append(
            (b"the ", b"phase ", b"of ", b"an ", b"oscillator ", b"drifts\n", b"and ", b"locks. ")[state >> 28]
        )
    return b"".join(words)[:n_bytes]


def _suggestions(message: str) -> list[str]:
    words = [word for part in re.split(r"\b(?:type|say) ", message)[1:] for word in TYPED.findall(part)]
    return [text for text in (shlex.split(word)[0] for word in words) if "=" in text]


@pytest.fixture(scope="session")
def suggestions() -> Callable[[str], list[str]]:
    """The arguments key=value that an error says to type, each as it leaves the shell."""
    return _suggestions


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "made.txt"
    path.write_bytes(made_text(3190))
    return path


@pytest.fixture(scope="session")
def pair_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level tokenizer.json of 32,768 tokens: the 256 bytes, and pairs of bytes, printable ones first."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [(a, b) for a in alphabet for b in alphabet][: 32_768 - 256]
    names = [*alphabet, *(a + b for a, b in pairs)]
    tokenizer = Tokenizer(models.BPE({name: k for k, name in enumerate(names)}, pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    path = tmp_path_factory.mktemp("tokenizer") / "pairs.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture(scope="session")
def wikitext2() -> Path:
    """A folder of WikiText-2's wiki.{valid,test}.{tokens,raw}.xz beside the checkout, which is no part of it."""
    places = (folder / "shared" / "corpora" / "wikitext2" for folder in Path(__file__).parents)
    if (found := next(filter(Path.is_dir, places), None)) is None:
        pytest.skip("the files of WikiText-2 are not here")
    return found


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def overrides(tmp_path: Path, text_file: Path, cache_dir: Path) -> list[str]:
    """The command line of the tiny run; its directory is `tmp_path`/run."""
    return [
        "model=transformer",
        "scale=smoke",
        "data=text",
        f"data.path={text_file}",
        "data.split=[0.8,0.1,0.1]",
        f"data.cache_dir={cache_dir}",
        "data.context=16",
        "batch_size=8",
        "optim.lr=0.005",
        "optim.warmup_steps=5",
        "trainer=cpu",
        "trainer.max_epochs=null",
        "trainer.max_steps=30",
        "trainer.log_every=4",
        "trainer.checkpoint_every=7",
        "trainer.threads=1",
        "trainer.progress=false",
        "logger=none",
        f"run_dir={tmp_path / 'run'}",
    ]


@pytest.fixture
def make_config(overrides: list[str]) -> Callable[..., RunConfig]:
    """The config of the tiny run with further overrides."""
    return lambda *more: compose("train", [*overrides, *more])


@pytest.fixture
def weights() -> Callable[[Path], dict[str, torch.Tensor]]:
    """The weights in the last checkpoint of a run directory."""
    return lambda folder: torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.fixture
def same_weights(weights: Callable[[Path], dict[str, torch.Tensor]]) -> Callable[[Path, Path], None]:
    """Asserts that two run directories ended with the same bits."""

    def check(first: Path, second: Path) -> None:
        a, b = weights(first), weights(second)
        assert a.keys() == b.keys()
        for name in a:
            assert torch.equal(a[name], b[name]), name

    return check


@pytest.fixture(scope="session")
def whole_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], Path]:
    return {}


@pytest.fixture
def uninterrupted(
    whole_runs: dict[tuple[str, ...], Path],
    make_config: Callable[..., RunConfig],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Path]:
    """The directory of the tiny run with further overrides, made in one go and once for all tests."""

    def get(*more: str) -> Path:
        if more not in whole_runs:
            whole_runs[more] = tmp_path_factory.mktemp("whole")
            run(make_config(*more, f"run_dir={whole_runs[more]}"))
        return whole_runs[more]

    return get


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps train in the process of the test, which is quicker, where their processes are not what is tested."""

    def train(self: OwnProcesses, config: RunConfig, command: str) -> Failure | None:
        if self.signum is None:
            try:
                return train_here(config)
            except Interrupted as interrupted:
                self.signum = interrupted.exit_code - 128
        return None

    monkeypatch.setattr(OwnProcesses, "train", train)
