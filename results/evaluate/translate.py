"""Translations by a trained run: of a split, scored and kept in a file, or of lines of text, as they come."""

import hashlib
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from configs.counted import counted
from configs.errors import UserError
from configs.printable import printable
from configs.schema import EvaluationConfig
from data.atomic_write import write_atomically
from data.files import existing_file, file_sha256
from data.lines import text_lines
from measures.bleu import paired_bootstrap, scores
from measures.translate import Translated, translate
from measures.translation_loss import translation_loss
from training.attention_backend import evaluated_by
from training.evaluated_split import progress_of
from training.run_record.record import load_record
from training.run_record.trained_run import TrainedRun


def translate_split(run: TrainedRun, config: EvaluationConfig) -> None:
    """Translate a split, print scores against its references, keep both in files, and add the scores to the record.

    With `baseline` the difference to that run's translations, and whether it is significant (paired bootstrap). The
    files lie in the run directory: NAME.de, a translation a line, as `sacrebleu` takes it, and NAME.txt, with
    source, reference and translation of each sentence, to be read.
    """
    test = config.data.test if config.split == "test" and config.data.test else config.split
    name = run.folder / f"translations-{test}-{run.checkpoint.name.replace('.ckpt', '').replace(' ', '-')}"
    corpus = run.parallel(config.data, config.split)
    plain = name.with_name(f"{name.name}.{corpus.languages[1]}")
    entry: dict[str, Any] = {
        "task": "translate",
        "split": config.split,
        "test": test,
        "text_sha256": corpus.splits_sha256[config.split],
        "truncated": corpus.facts["truncated"][config.split],
        "checkpoint": run.checkpoint.name,
        "averaged": run.averaged,
        "step": run.step,
        "beam": config.beam,
        "length_penalty": config.length_penalty,
    }
    baseline = None if config.baseline is None else _translations_of(config.baseline, entry)
    sources, references, (source, target) = corpus.source(config.split), corpus.target(config.split), corpus.languages
    with progress_of(config.split) as on_progress:
        loss = translation_loss(run.model, corpus.pairs(config.split), run.config.precision, on_progress=on_progress)
    with progress_of("translated") as on_progress:
        found = _translated(run, config, sources, on_progress)
    best = [translations[0][0] for translations in found]
    scored = scores(best, references, target)
    search = f"beam {config.beam}, length penalty {config.length_penalty:g}" if config.beam > 1 else "greedy"
    print(f"run             {run.folder}")
    print(f"checkpoint      {run.checkpoint} (step {run.step:,})")
    print(f"split           {test}, {counted(scored.sentences, 'pair')}, {source} into {target}, {search}")
    print(f"nats            {loss.nats:.6f} per target, the reference before it given")
    print(f"bits per byte   {loss.bits_per_byte:.6f}")
    print(f"BLEU            {scored.bleu:.2f} ± {scored.bleu_interval:.2f} (95 %, bootstrap over sentences)")
    print(f"                sacreBLEU {scored.bleu_signature}")
    print(f"chrF            {scored.chrf:.2f}, sacreBLEU {scored.chrf_signature}")
    print(f"BLEU, tokenised {scored.bleu_tokenised:.2f}: compounds split, as older papers have it; not to be mixed")
    if baseline is not None:
        theirs, config_hash = baseline
        compared = paired_bootstrap(theirs, best, references)
        entry |= {"baseline": config_hash, "bleu_difference": compared.difference, "p": compared.p}
        print(
            f"minus baseline  {compared.difference:+.2f} BLEU, p = {compared.p:.3f} (paired bootstrap), "
            f"{config.baseline}"
        )
    content = "".join(f"{line}\n" for line in best).encode()
    entry["file"] = {"name": plain.name, "sha256": hashlib.sha256(content).hexdigest()}
    entry |= evaluated_by(run.model, next(run.model.parameters()).device.type) | asdict(loss) | asdict(scored)
    run.add_evaluation(entry)  # first: a disk that is full must not lose the scores
    blocks = (
        f"{n}\n{source}   {text}\nref  {reference}\n{target}   {translation}\n\n"
        for n, (text, reference, translation) in enumerate(zip(sources, references, best, strict=True), start=1)
    )
    readable = name.with_name(f"{name.name}.txt")
    write_atomically(plain, content)
    write_atomically(readable, "".join(blocks).encode())
    print(f"\n{readable}\n{plain}")


SAME = ("test", "text_sha256", "beam", "length_penalty")  # of translations that are compared


def _translations_of(folder: str, entry: dict[str, Any]) -> tuple[list[str], str]:
    """Another run's translations of the same text by the same search, and the run's config hash. UserError where it has
    none, or its file is no longer what it wrote.
    """
    record = load_record(folder)
    fitting = [
        other
        for other in record.evaluations
        if other.get("task") == "translate"
        and all(other[key] == entry[key] for key in SAME)
        and bool(other["averaged"]) == bool(entry["averaged"])
    ]
    if not fitting:
        raise UserError(f"{folder} has not translated this text in this way: evaluate it first, with the same settings")
    file, sha256 = Path(folder) / fitting[-1]["file"]["name"], fitting[-1]["file"]["sha256"]
    if not file.is_file() or file_sha256(file) != sha256:
        raise UserError(f"{file} is not what {folder} has in its record; evaluate it again")
    return list(text_lines(file)), record.config_hash


def translate_lines(run: TrainedRun, config: EvaluationConfig) -> None:
    """Stream translations of the lines of `input`, in order, `n_best` lines for each, on request after their scores."""
    assert config.input is not None
    lines = _typed() if config.input == "-" else _of_file(config.input)
    # What is typed by hand is answered line by line.
    at_once = 1 if config.input == "-" and sys.stdin.isatty() else config.batch_size
    while some := list(itertools.islice(lines, at_once)):
        for translations in _translated(run, config, some):
            for n in range(config.n_best):  # always as many lines for a sentence, also for an empty one
                text, one = translations[min(n, len(translations) - 1)]
                print(f"{one.score:.4f}\t{printable(text)}" if config.scores else printable(text))
        sys.stdout.flush()


def _translated(
    run: TrainedRun,
    config: EvaluationConfig,
    sentences: list[str],
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Translated]:
    tokenizer, context = run.joint_tokenizer, run.config.data.context
    longer = sum(len(tokens) >= context for tokens in tokenizer.encode_sentences(sentences))
    if longer:
        print(
            f"note: {longer:,} of {counted(len(sentences), 'sentence')} longer than data.context={context}; "
            f"the first {context} tokens are translated",
            file=sys.stderr,
        )
    if config.beam >= tokenizer.vocabulary_size:
        raise UserError(f"beam={config.beam} is not less than the vocabulary of {tokenizer.vocabulary_size:,} tokens")
    how = config.beam, config.length_penalty, config.batch_size, run.config.precision
    return translate(run.model, tokenizer, sentences, context, *how, on_progress=on_progress)


def _of_file(name: str) -> Iterator[str]:
    return text_lines(existing_file(name, "input"), "input")


def _typed() -> Iterator[str]:
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            yield line.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise UserError(f"line {number} of the input is not UTF-8 (byte 0x{line[error.start]:02x})") from None
