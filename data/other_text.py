"""A text that a run was not trained on, read whole as one split with the run's own tokenizer."""

import hashlib
from dataclasses import dataclass

import numpy as np

from configs.errors import UserError
from data.files import existing_file, recorded_name
from data.split import Split
from data.tokenizers import Tokenizer, chunks
from data.unpacking import unpacked_chunks


@dataclass(frozen=True, eq=False)
class OtherText:
    """The bytes of a file and its tokens. `sha256`: of the bytes, unpacked."""

    name: str
    sha256: str
    content: np.ndarray  # (n,) uint8
    split: Split


def read_text(path: str, tokenizer: Tokenizer, key: str) -> OtherText:
    """The text in the file that the user's `key` names, also compressed.

    UserError for a file that is missing, empty, damaged or no text, and for what the tokenizer has no tokens for.
    """
    file = existing_file(path, key)
    content = b"".join(unpacked_chunks(file, key))
    if not content:
        raise UserError(f"{key}={path} unpacks to nothing; give a file with text in it")
    text = np.frombuffer(content, np.uint8)
    tokens = np.concatenate([tokenizer.encode(chunk) for chunk in chunks(text)])
    return OtherText(recorded_name(file), hashlib.sha256(content).hexdigest(), text, tokenizer.split(tokens))
