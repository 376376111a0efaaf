"""Whatever a file or a command line holds, its reader takes it or says in one line what is wrong with it.

A few hundred inputs to a reader here; `make fuzz` runs more than 100,000 in all.
"""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import strategies as st

from configs.compose import compose, config_dict, resolve_saved
from configs.saved import read_saved
from configs.sweeps import requested
from data.joint_tokenizer import joint_tokenizer_of
from data.tokenizers import tokenizer_of
from results.document import Document, Table
from training.run_record.record import load_record

ROOT = Path(__file__).parents[2]
CONFIGS = (
    ["model=fsn"],
    ["model=osn", "data=text", "data.path=x"],
    ["model=fsn", "task=recall", "data=mqar", "trainer.max_steps=9"],
    ["model=osn", "task=translation", "data=numbers"],
)
KEYS = "seed model scale data data.path data.split optim.lr model.width trainer.max_steps run_dir hydra.run.dir x"
VALUES = "0 1e-3 fsn 1m text null true [1,2] {a:1} ${seed} 'a' 'a,b choice(1,2) range(3) ${oc.env:HOME} 9999999999"


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


def test_configs_of_checkpoints(saved, damaged):
    damaged.only_clean_errors(25, damaged.values(saved), resolve_saved)


def test_config_yaml(saved, damaged, tmp_path):
    path, goods = tmp_path / "config.yaml", []
    for values in saved:
        values["model"]["tuned"] = {}
        goods.append(yaml.safe_dump(values, sort_keys=False).encode())

    def read(content):
        path.write_bytes(content)
        resolve_saved(read_saved(path), path)

    damaged.only_clean_errors(40, damaged.bytes(goods), read)


def read_and_show(path):
    """A record that is taken can be shown, too."""
    record = load_record(path)
    row = {"model": str(record.config["model"]["name"]), "data": record.data.name}
    table = Table(record.command, [row], notes=[str(record.error)], data=[record.final or {}])
    document = Document("mine", record.data.name, [table])
    document.markdown(), document.latex(), document.csv(table)


def test_records(records, damaged, tmp_path):
    path, goods = tmp_path / "record.json", [damaged.json(record) for record in records]

    def read(content):
        path.write_bytes(content)
        read_and_show(path)

    damaged.only_clean_errors(120, damaged.values(records).map(damaged.json), read)
    damaged.only_clean_errors(120, damaged.bytes(goods), read)


@pytest.fixture(scope="module")
def tokenizers():
    """Small tokenizer.json, of byte-level BPE with and without <eos>, and of words."""
    from data.trained_tokenizers import _words, trained_bpe

    text = "the phase of an oscillator drifts and locks again " * 20
    import numpy as np

    words = np.frombuffer(b" the phase <unk> drifts \n" * 9, np.uint8)
    return [trained_bpe([text], 262), trained_bpe([text], 262, ["<eos>"]), _words(words)]


@pytest.mark.parametrize("opened", [tokenizer_of, joint_tokenizer_of], ids=["text", "joint"])
def test_tokenizers(opened, tokenizers, damaged):
    def read(content):
        tokenizer = opened("tokenizer.json", content) if opened is tokenizer_of else opened(content)
        text = "the phase é\n".encode()
        assert b"".join(tokenizer.decode(tokenizer.encode(text))) == text

    values = damaged.values([json.loads(content) for content in tokenizers]).map(damaged.json)
    damaged.only_clean_errors(60, values | damaged.bytes([content.encode() for content in tokenizers]), read)


def test_overrides(damaged):
    typed = [f"{key}={value}".encode() for key in KEYS.split() for value in VALUES.split()]
    good = st.sampled_from(typed) | damaged.bytes(typed)
    text = st.tuples(st.sampled_from(("", "", "", "+", "~", "++")), good)
    texts = text.map(lambda parts: parts[0] + parts[1].decode(errors="surrogateescape"))

    def read(given):
        requested(given)
        compose("train", given)

    damaged.only_clean_errors(20, st.lists(texts, min_size=1, max_size=3), read)
