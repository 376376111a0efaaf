"""What of a tokenizer.json of the `tokenizers` library is taken: the parts that byte-level tokenizers have, no others.

The library runs whatever regular expression a file holds, in a normalizer, a pre-tokenizer or a decoder, and one of a
few characters can take longer than the age of the universe on a line of text. So its parts are those that hold none,
and those with the patterns of Llama 3, of Qwen2 and of the tokenizers trained here; nothing else of a file reaches the
library. Padding, truncation and post-processors are left out: they change no token of a text.
"""

import json
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from configs.errors import UserError
from configs.printable import shortened

LARGEST = 1 << 26  # bytes of a tokenizer.json; the largest known have some 40 million
WORD = " [^ ]*"  # of data.tokenizer=words
# Of Llama 3 (tiktoken's cl100k_base) and of Qwen2. Each takes time in proportion to the text: what one alternative
# tries and gives back, another takes whole.
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN_2 = LLAMA_3.replace(r"\p{N}{1,3}", r"\p{N}")

NEEDED = {  # by key of the file
    "model": "its model has to be BPE without dropout, or WordLevel",
    "decoder": "it does not work on bytes: its decoder has to be ByteLevel, as GPT-2's is",
    "normalizer": "a normalizer changes the text: it has to be null, or NFC",
    "pre_tokenizer": "its pre-tokenizer has to be ByteLevel, alone or after one that splits at digits, punctuation, "
    "white space or a fixed text, or by the pattern of Llama 3 or Qwen2",
}


class ByteLevel(TypedDict):
    """Bytes as characters; `use_regex`: cut before by GPT-2's pattern, which the library has of itself."""

    type: Literal["ByteLevel"]
    add_prefix_space: NotRequired[bool]
    trim_offsets: NotRequired[bool]
    use_regex: NotRequired[bool]


class Pattern(TypedDict):
    Regex: Literal[WORD, LLAMA_3, QWEN_2]  # type: ignore[valid-type]


class Literally(TypedDict):
    String: str


class Split(TypedDict):
    type: Literal["Split"]
    pattern: Pattern | Literally
    behavior: str
    invert: bool


class Digits(TypedDict):
    type: Literal["Digits"]
    individual_digits: NotRequired[bool]


class Punctuation(TypedDict):
    type: Literal["Punctuation"]
    behavior: NotRequired[str]


class WhitespaceSplit(TypedDict):
    type: Literal["WhitespaceSplit"]


Part = Annotated[ByteLevel | Split | Digits | Punctuation | WhitespaceSplit, Field(discriminator="type")]


class Sequence(TypedDict):
    type: Literal["Sequence"]
    pretokenizers: list[Part]


class NFC(TypedDict):
    type: Literal["NFC"]


class Normalizers(TypedDict):
    type: Literal["Sequence"]
    normalizers: list[NFC]


@with_config(extra="allow")
class Model(TypedDict):
    """Older files name no type. Dropout draws other tokens each time."""

    type: NotRequired[Literal["BPE", "WordLevel"]]
    dropout: NotRequired[Literal[0] | None]


class TokenizerFile(TypedDict):
    version: NotRequired[Any]
    added_tokens: NotRequired[Any]
    model: Model
    decoder: ByteLevel
    normalizer: NotRequired[Annotated[NFC | Normalizers, Field(discriminator="type")] | None]
    pre_tokenizer: NotRequired[
        Annotated[ByteLevel | Split | Digits | Punctuation | WhitespaceSplit | Sequence, Field(discriminator="type")]
        | None
    ]


FILE = TypeAdapter(TokenizerFile)


def library_of(name: str, content: bytes) -> Any:
    """The tokenizers.Tokenizer from the content of a tokenizer.json, which the user calls `name`.

    UserError, one line, for other content, and for a part that no byte-level tokenizer needs.
    """
    try:
        from tokenizers import Tokenizer as Library
        from tokenizers.models import BPE, WordLevel
    except ImportError as error:
        raise UserError("data.tokenizer needs the package tokenizers; pip install tokenizers") from error
    if len(content) > LARGEST:
        raise UserError(f"data.tokenizer={name} has {len(content):,} bytes, more than any tokenizer.json: give another")
    try:
        parts = FILE.validate_python(json.loads(content.decode()))
        library = Library.from_str(json.dumps(parts))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        key = fault["loc"][0] if fault["loc"] else None
        if key not in NEEDED or fault["loc"] == ("model",):
            raise _none(name, f"{key or 'it'}: {fault['msg']}") from None
        raise _refused(name, str(key)) from None
    except BaseException as error:
        if not of_library(error):
            raise
        raise _none(name, str(error)) from error
    if not isinstance(library.model, BPE | WordLevel):
        raise _refused(name, "model")
    return library


def of_library(error: BaseException) -> bool:
    """Whether it is the library's, not a signal's: a panic of its Rust code is none of Python's Exception."""
    return isinstance(error, Exception) or type(error).__module__ == "pyo3_runtime"


def _none(name: str, reason: str) -> UserError:
    return UserError(f"data.tokenizer={name} is no tokenizer.json of the tokenizers library: {shortened(reason)}")


def _refused(name: str, key: str) -> UserError:
    return UserError(
        f"data.tokenizer={name} is not read: {NEEDED[key]}; type data.tokenizer=bpe, or give such a byte-level one"
    )
