"""Whatever a file or a command line holds, its reader takes it or says in one line what is wrong with it.

A few hundred inputs to a reader here; `make fuzz` runs 100,000 in all. An input is drawn from its reader's name and its
number alone: a failure names both, and `SYNCHRONY_FUZZ_ONLY=NUMBER` makes that one again.
"""

import json
import os
import random
from pathlib import Path

import pytest
import yaml

from configs.compose import compose, config_dict, resolve_saved
from configs.errors import UserError
from configs.saved import read_saved
from configs.sweeps import requested
from data.joint_tokenizer import joint_tokenizer_of
from data.tokenizers import tokenizer_of
from results.document import Document, Table
from training.run_record.record import load_record

ROOT = Path(__file__).parents[2]
ONLY = os.environ.get("SYNCHRONY_FUZZ_ONLY")
TIMES = int(os.environ.get("SYNCHRONY_FUZZ", "1"))  # as many inputs as here
CONFIGS = (["model=fsn"], ["model=osn", "data=text", "data.path=x"], ["model=fsn", "task=recall", "data=mqar"])
CONFIGS = (
    CONFIGS[0],
    CONFIGS[1],
    [*CONFIGS[2], "trainer.max_steps=9"],
    ["model=osn", "task=translation", "data=numbers"],
)
KEYS = "seed model scale data data.path data.split optim.lr model.width trainer.max_steps run_dir hydra.run.dir x"
VALUES = "0 1e-3 fsn 1m text null true [1,2] {a:1} ${seed} 'a' 'a,b choice(1,2) range(3) ${oc.env:HOME} 9999999999"


def draws(reader, n):
    """(number, source of chance) of each input of a reader."""
    numbers = range(n * TIMES) if ONLY is None else [int(ONLY)]
    return ((number, random.Random(f"{reader} {number}")) for number in numbers)


def only_clean_errors(reader, n, make, read):
    """Fails for the first input that a reader answers with anything but a value or one readable line."""
    clean = 0
    for number, draw in draws(reader, n):
        given = make(draw)
        try:
            read(given)
        except UserError as error:
            clean += 1
            assert str(error).strip() and len(str(error)) < 2000 + 2 * len(str(given)), (
                f"{reader} {number}: {str(error)[:200]}"
            )
        except BaseException as error:
            error.add_note(f"SYNCHRONY_FUZZ_ONLY={number}, of {reader}: {given!r:.2000}")
            raise
    assert ONLY is not None or clean > n // 10, "the inputs are hardly ever wrong"


@pytest.fixture(scope="module")
def saved():
    return [config_dict(compose("train", ["scale=smoke", *given])) for given in CONFIGS]


@pytest.fixture(scope="module")
def records():
    """Small records of each kind: with few rows, and all kinds of evaluations that there are."""
    found = {}
    for path in sorted((ROOT / "results" / "records").rglob("*.json")):
        if "bench" not in path.parts:
            content = json.loads(path.read_text())
            kinds = frozenset(str(each.get("task")) for each in content.get("evaluations", []))
            found.setdefault((content["config"].get("task"), kinds), content | {"metrics": content["metrics"][-2:]})
    return [shorter(content) for content in found.values()]


def shorter(content):
    """With at most two entries in a list."""
    if isinstance(content, dict):
        return {key: shorter(value) for key, value in content.items() if key != "tuned"}
    return [shorter(value) for value in content[:2]] if isinstance(content, list) else content


def test_configs_of_checkpoints(saved, mutated_values):
    only_clean_errors("checkpoint", 40, lambda draw: mutated_values(draw.choice(saved), draw), resolve_saved)


def test_config_yaml(saved, mutated_text, tmp_path):
    path, goods = tmp_path / "config.yaml", []
    for values in saved:
        values["model"]["tuned"] = {}
        goods.append(yaml.safe_dump(values, sort_keys=False).encode())

    def read(content):
        path.write_bytes(content)
        resolve_saved(read_saved(path), path)

    only_clean_errors("yaml", 60, lambda draw: mutated_text(draw.choice(goods), draw), read)


def read_and_show(path):
    """A record that is taken can be shown, too."""
    record = load_record(path)
    row = {"model": str(record.config["model"]["name"]), "data": record.data.name}
    table = Table(record.command, [row], notes=[str(record.error)], data=[record.final or {}])
    document = Document("mine", record.data.name, [table])
    document.markdown(), document.latex(), document.csv(table)


def test_values_of_records(records, mutated_values, tmp_path):
    path = tmp_path / "record.json"

    def read(content):
        path.write_bytes(json.dumps(content).encode(errors="surrogatepass"))
        read_and_show(path)

    only_clean_errors("record", 300, lambda draw: mutated_values(draw.choice(records), draw), read)


def test_bytes_of_records(records, mutated_text, tmp_path):
    path, goods = tmp_path / "record.json", [json.dumps(record).encode() for record in records]

    def read(content):
        path.write_bytes(content)
        read_and_show(path)

    only_clean_errors("record bytes", 300, lambda draw: mutated_text(draw.choice(goods), draw), read)


@pytest.fixture(scope="module")
def tokenizers():
    """Small tokenizer.json, of byte-level BPE with and without <eos>, and of words."""
    from data.trained_tokenizers import _words, trained_bpe

    text = "the phase of an oscillator drifts and locks again " * 20
    import numpy as np

    words = np.frombuffer(b" the phase <unk> drifts \n" * 9, np.uint8)
    return [trained_bpe([text], 262), trained_bpe([text], 262, ["<eos>"]), _words(words)]


@pytest.mark.parametrize("opened", [tokenizer_of, joint_tokenizer_of], ids=["text", "joint"])
def test_tokenizers(opened, tokenizers, mutated_text, mutated_values):
    values = [json.loads(content) for content in tokenizers]

    def make(draw):
        if draw.random() < 0.5:
            return json.dumps(mutated_values(draw.choice(values), draw)).encode(errors="surrogatepass")
        return mutated_text(draw.choice(tokenizers).encode(), draw)

    def read(content):
        tokenizer = opened("tokenizer.json", content) if opened is tokenizer_of else opened(content)
        text = "the phase é\n".encode()
        assert b"".join(tokenizer.decode(tokenizer.encode(text))) == text

    only_clean_errors(f"tokenizer {opened.__name__}", 150, make, read)


def test_overrides(mutated_text):
    keys, values = KEYS.split(), VALUES.split()

    def make(draw):
        given = []
        for _ in range(draw.randint(1, 3)):
            text = f"{draw.choice(('', '', '', '+', '~', '++'))}{draw.choice(keys)}={draw.choice(values)}"
            text = mutated_text(text.encode(), draw).decode(errors="surrogateescape") if draw.random() < 0.6 else text
            given.append(text)
        return given

    def read(given):
        requested(given)
        compose("train", given)

    only_clean_errors("overrides", 30, make, read)
