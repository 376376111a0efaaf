"""JSON read strictly: a file holds what its types say and nothing else, or one line says where it does not."""

import json
import math
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_wrap_validator_function

from configs.errors import UserError

Content = TypeVar("Content")
# Neither "3" nor true is a number; the other types of JSON are strict of themselves.
Count = Annotated[int, Field(strict=True, ge=0)]
Number = Annotated[float, Field(strict=True)]


@dataclass(frozen=True)
class CheckedAs:
    """JSON that is checked against a type and kept as it was written: its keys in their order, 3 as 3, not as 3.0.

    `Annotated[list[dict[str, Any]], CheckedAs(list[MetricRow])]` is a list of plain dicts to those who use it.
    """

    type: Any

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        check_and_keep = lambda value, check: (check(value), value)[1]  # noqa: E731
        return no_info_wrap_validator_function(check_and_keep, handler.generate_schema(self.type))


def read_strictly(path: Path, kind: TypeAdapter[Content], name: str) -> tuple[Content, Any]:
    """The content of a JSON file of a type that is called `name` in errors, and the same as plain JSON.

    Raises FileNotFoundError, and UserError, one line, for a file that cannot be read, a key that is there twice, a
    number that is not finite or beyond 64 bits, and the first place where the content is not of its type.
    """
    content: Any = None
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is no regular file")
        text = path.read_text(encoding="utf-8")
        content = strict_json(text)
        return kind.validate_python(content), content
    except FileNotFoundError:
        raise
    except ValidationError as error:
        raise UserError(f"{path} is not a {name}: {first_fault(error, content)}") from None
    except OSError as error:
        raise UserError(f"cannot read the {name} {path}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"cannot read the {name} {path}: it is damaged, put back a copy or set it aside: {error}"
        ) from None


def strict_json(text: str) -> Any:
    """Plain JSON. ValueError for a key that is there twice, a number that is not finite or beyond 64 bits and half a
    character; RecursionError.
    """
    # Not with Pydantic's own parser, which keeps the last of two equal keys and reads 1e999 as infinity.
    content = json.loads(
        text, object_pairs_hook=_once_each, parse_float=_finite, parse_int=_of_64_bits, parse_constant=_finite
    )
    json.dumps(content, ensure_ascii=False).encode()  # half a character, "\ud800", could be written nowhere
    return content


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {_short(repr(twice))} is there twice in one place")
    return content


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"it holds the number {_short(text)}")
    return number


def _of_64_bits(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= (number := int(text)) < 2**63:
        raise ValueError(f"it holds the number {_short(text)}")
    return number


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def first_fault(error: ValidationError, content: Any) -> str:
    """The first of Pydantic's complaints about plain JSON, with its place: `metrics[3] lacks 'bytes'`."""
    fault = error.errors(include_url=False)[0]
    place = ""
    for key in fault["loc"]:
        # What is no key of the content is the name that Pydantic gives to one of several types.
        if isinstance(key, int):
            content, place = content[key], f"{place}[{key}]"
        elif isinstance(content, dict) and key in content:
            content, place = content[key], f"{place}.{_short(key)}"
    place = place.removeprefix(".") or "it"
    message, details = fault["msg"].replace("Input should", "it should"), fault.get("ctx", {})
    match fault["type"]:
        case "missing":
            return f"{place} lacks {fault['loc'][-1]!r}"
        case "union_tag_not_found":
            return f"{place} lacks {details['discriminator']}"
        case "extra_forbidden" | "unexpected_keyword_argument":
            return f"{place} is an unknown key"
        case "union_tag_invalid":
            return f"{place}: {_short(details['tag'])!r} is none of {details['expected_tags']}"
        case "value_error":
            return f"{place} {details['error']}"
        case "dataclass_type" | "dict_type" | "model_attributes_type":
            message = "it should be a mapping"
    return f"{place} is {reprlib.repr(content)}: {message}"
