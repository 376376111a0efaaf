"""Parallel text for task=translation: sentences and their translations in three splits, and the tokens of both.

`wmt14`: the pairs of `wmt/wmt14`, English-German, pinned to a commit: 4,508,785 of training, 3,000 of newstest2013 and
3,003 of newstest2014. `multi30k`: captions of images, from local files alone. Both also from the files of `data.path`
(data/pair_files.py). `numbers`: sentences about numbers, which are made (data/number_words.py).

Our choices. A sentence is one line: a newline within becomes a space. WMT text has HTML entities here and there, such
as `&quot;`, which are replaced in both languages by what they stand for, once, and counted. Else text stays as it is.
In the cache the text is lines, a source and its target in turn.
"""

import hashlib
import html
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from configs.counted import counted
from configs.errors import UserError
from configs.schema import ParallelConfig
from data import number_words
from data.columns import TRANSLATION
from data.corpus import Built, Corpus, cached_corpus
from data.cuts import SPLITS
from data.files import WatchedFiles, file_sha256, recorded_name
from data.hub import HubDataset
from data.joint_tokenizer import JointTokenizer, sentences_of, trained_joint_tokenizer
from data.pair_files import Pair, pair_files
from data.sentence_pairs import SentencePairs, tokenized_pairs, told_pairs

log = logging.getLogger(__name__)

DATASET = "wmt/wmt14"
SUBSET = "de-en"
REVISION = "b199e406369ec1b7634206d3ded5ba45de2fe696"  # the commit that public projects pin for this data set
OFFICIAL = {"train": 4_508_785, "validation": 3_000, "test": 3_003}  # pairs there
ENTITY = re.compile(r"&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[A-Za-z][A-Za-z0-9]*);")
ESCAPED = ("wmt14",)  # sources with HTML entities


@dataclass(frozen=True)
class ParallelCorpus:
    """Pairs of sentences in three splits, and the tokens they are read as."""

    text: Corpus  # lines, a source and its target in turn
    pairs_as_tokens: Corpus
    tokenizer: JointTokenizer
    languages: tuple[str, str]

    @property
    def name(self) -> str:
        return self.text.name

    @property
    def sha256(self) -> str:
        """Of the text of all splits."""
        return self.text.sha256

    @property
    def splits_sha256(self) -> dict[str, str]:
        """The SHA-256 of the text of each split: a run may be scored on other test sets than it was started with."""
        hashes: dict[str, str] = self.text.source["splits_sha256"]
        return hashes

    @property
    def tokens_sha256(self) -> str:
        """Of the tokens of the pairs that are kept."""
        return self.pairs_as_tokens.sha256

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What it was made of, what was left out and cut, as plain JSON."""
        return {**self.text.source, **self.pairs_as_tokens.source}

    def source(self, split: str) -> list[str]:
        """The source sentences of a split, all that were read. UserError for a split that does not exist."""
        return self._lines(split)[0::2]

    def target(self, split: str) -> list[str]:
        """Their translations, likewise."""
        return self._lines(split)[1::2]

    def pairs(self, split: str) -> SentencePairs:
        """The pairs of a split as tokens, memory-mapped; of training those that are kept."""
        assert self.tokenizer.token_bytes is not None  # of bytes as tokens alone
        return SentencePairs(self.pairs_as_tokens.split(split), self.tokenizer.eos, self.tokenizer.token_bytes)

    def pairs_per_split(self) -> dict[str, int]:
        """How many pairs each split has; of training those that are kept."""
        return dict(self.facts["pairs"])

    def tokens_per_split(self) -> dict[str, int]:
        """How many tokens the targets of each split have, <eos> counted."""
        return {name: counts["target"] for name, counts in self.facts["tokens"].items()}

    def bytes_per_split(self) -> dict[str, int]:
        """How many bytes of text these stand for, one for each end of a line."""
        return dict(self.facts["target_bytes"])

    def told(self) -> list[str]:
        """What was left out and cut, a line each."""
        return told_pairs(self.facts)

    def _lines(self, split: str) -> list[str]:
        if split not in self.text.splits:
            raise UserError(f"split={split} does not exist; choose one of {', '.join(self.text.splits)}")
        return list(sentences_of(self.text, split))


@dataclass(frozen=True)
class Source:
    """Where pairs come from: what decides them, what the record tells of that, and the pairs of each split."""

    key: dict[str, Any]
    told: dict[str, Any]
    pairs: Callable[[str], Iterator[Pair]]
    watched: WatchedFiles = field(default_factory=lambda: WatchedFiles([]))
    expected: dict[str, int] | None = None  # pairs of each split; None: as many as there are


def open_parallel(
    config: ParallelConfig, tokenizer: JointTokenizer | None = None, text: Corpus | None = None
) -> ParallelCorpus:
    """The corpus that `config` names, from the cache when it was made before. `tokenizer`, `text`: those of a trained
    run; None: the tokenizer of its training split, and the text that `config` names.

    UserError for text that is not there or not parallel (unequal numbers of lines, a language twice), not UTF-8, or too
    small for `data.vocabulary`, and for a cache that cannot be written.
    """
    text = text or _text(config)
    if tokenizer is None:
        tokenizer = trained_joint_tokenizer(config, text, text.source["splits_sha256"]["train"])
    corpus = ParallelCorpus(text, tokenized_pairs(config, text, tokenizer), tokenizer, config.languages)
    for line in corpus.told():
        log.warning("%s: %s", config.name, line)
    return corpus


def _text(config: ParallelConfig) -> Corpus:
    """The text of a corpus, as lines."""
    if config.source == "multi30k" and config.path is None:  # here: a table is made without its files
        raise UserError(
            "data=multi30k needs its files: get those of data/task1/raw from https://github.com/multi30k/dataset and "
            "type data.path=FOLDER"
        )
    source = _made() if config.source == "numbers" else _hub() if config.path is None else _local(config)
    escaped = config.source in ESCAPED

    def build(write: Callable[[bytes], None]) -> Built:
        lengths, pairs, alike = ({name: 0 for name in SPLITS} for _ in range(3))
        hashes, unescaped = {}, dict.fromkeys(config.languages, 0)
        for name in SPLITS:
            digest = hashlib.sha256()
            for pair in source.pairs(name):
                lines = []
                for language, read in zip(config.languages, pair, strict=True):
                    line = ENTITY.sub(lambda found: html.unescape(found[0]), read) if escaped else read
                    unescaped[language] += line != read
                    lines.append(line.replace("\n", " "))
                content = "\n".join([*lines, ""]).encode()
                alike[name] += lines[0] == lines[1]
                pairs[name] += 1
                lengths[name] += len(content)
                digest.update(content)
                write(content)
            _check(config, source, name, pairs[name], alike[name])
            hashes[name] = digest.hexdigest()
        source.watched.require_unchanged()
        told = {"unescaped_lines": unescaped} if escaped else {}
        return Built(lengths, {"lines": pairs, "identical_lines": alike, "splits_sha256": hashes, **told})

    recipe = {"source": config.source, "html": escaped, **source.key}
    told = {"languages": list(config.languages), "html_unescaped": escaped, **source.told}
    return cached_corpus(config, recipe, told, build)


def _check(config: ParallelConfig, source: Source, split: str, pairs: int, alike: int) -> None:
    """UserError for a split that is no parallel text, or not the official one."""
    if pairs and alike == pairs:
        raise UserError(
            f"every one of {counted(pairs, 'line')} of the {split} split of data.path={config.path} is the same in "
            f"{config.languages[0]} and {config.languages[1]}: one language was given twice; give its translation"
        )
    if source.expected is not None and pairs != source.expected[split]:
        raise UserError(
            f"{DATASET} at revision {REVISION[:8]} has {pairs:,} pairs of {split}, not the official "
            f"{source.expected[split]:,}; delete its download in the cache of the datasets library and get it again"
        )


def _hub() -> Source:
    """The pinned data set."""
    dataset = HubDataset(DATASET, REVISION, TRANSLATION, "wmt14_en_de", "wmt14", SUBSET)
    key = dataset.key
    return Source(key, key, lambda split: ((both["en"], both["de"]) for both in dataset.rows(split)), expected=OFFICIAL)


def _made() -> Source:
    key = {"made": "sentences about numbers", "pairs": number_words.PAIRS, "version": number_words.VERSION}
    return Source(key, key, number_words.number_pairs)


def _local(config: ParallelConfig) -> Source:
    """The files of `data.path`."""
    of_splits = {split: pair_files(config, split) for split in SPLITS}
    watched = WatchedFiles(path for of in of_splits.values() for path in of.files)
    hashes = {split: [file_sha256(path) for path in of.files] for split, of in of_splits.items()}
    names = {split: [recorded_name(path) for path in of.files] for split, of in of_splits.items()}
    # The form is part of what decides the text: the same bytes as .tsv are other sentences than as .en.
    forms = {split: [path.suffixes[-2:] for path in of.files] for split, of in of_splits.items()}
    return Source(
        {"files_sha256": hashes, "forms": forms},
        {"files": names, "files_sha256": hashes},
        lambda split: of_splits[split].pairs(),
        watched,
    )
