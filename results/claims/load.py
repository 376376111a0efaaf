"""The claims of claims.yaml as typed values. A key that is missing, unknown or of another form is named in one line."""

from pathlib import Path
from typing import Annotated, Any, get_args

import yaml
from pydantic import Field, ValidationError, model_validator

from configs.errors import UserError
from configs.strict import nearest
from results.claims.claim import Check, Hindered, Judge, Stated, StatedProtocol, Strict, Value
from results.claims.cost import Flops, Growth, LayerCost
from results.claims.heads_and_copies import ActiveShare, CopyDepth, LockedEarly, StartDiversity
from results.claims.losses import EveryCheckpoint, EverySeed, FinalDifference, FinalLevel, Ladder

PATH = Path(__file__).parent / "claims.yaml"
OfLosses = FinalLevel | EveryCheckpoint | EverySeed | FinalDifference | Ladder
OfHeads = CopyDepth | StartDiversity | ActiveShare | LockedEarly
AnyCheck = OfLosses | OfHeads | Flops | LayerCost | Growth
CHECKS: dict[str, type[Check]] = {check.model_fields["kind"].default: check for check in get_args(AnyCheck)}


class Claim(Stated):
    """A claim with the check that judges it, or sets ours beside it."""

    check: Annotated[AnyCheck, Field(discriminator="kind")] | None

    @model_validator(mode="after")
    def _judged_or_hindered(self) -> "Claim":
        if self.hindered is None:
            if not isinstance(self.check, Judge):
                raise ValueError("its check cannot judge it: say in 'hindered' why it has no verdict")
            if fault := self.check.fault(self):
                raise ValueError(fault)
        return self


PARTS: dict[str, type[Strict]] = {"values": Value, "protocol": StatedProtocol, "hindered": Hindered}


def load_claims(path: Path = PATH) -> list[Claim]:
    """The claims in the order of the file. UserError for an invalid file, claim or key."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"cannot read the claims {path}: {error}") from None
    if not isinstance(content, list):
        raise UserError(f"{path} is not a list of claims: begin each with '- id:'")
    claims: dict[str, Claim] = {}
    for number, entry in enumerate(content, 1):
        name = entry.get("id", number) if isinstance(entry, dict) else number
        try:
            claim = Claim.model_validate(entry)
        except ValidationError as error:
            raise UserError(f"{path}: claim '{name}': {_fault(error)}") from None
        if claim.id in claims:
            raise UserError(f"{path}: two claims have the id '{claim.id}': give one of them another")
        claims[claim.id] = claim
    return list(claims.values())


def _fault(error: ValidationError) -> str:
    """The first mistake in one line; an unknown key before the key that is missing because of it."""
    first: Any = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    place, problem = [str(part) for part in first["loc"]], first["type"]
    if problem == "value_error":
        return str(first["ctx"]["error"])
    if problem.startswith("union_tag"):
        kind = first["ctx"].get("tag")
        return f"check: kind is {kind!r}, legal are {', '.join(CHECKS)}{_guess(str(kind), CHECKS)}"
    where = f"{place[0]}: " if len(place) > 1 else ""
    key = place[-1] if place else "claim"
    if problem == "extra_forbidden":
        legal = (CHECKS[place[1]] if place[0] == "check" else PARTS[place[0]] if where else Claim).model_fields
        return f"{where}unknown key '{key}'" + (_guess(key, legal) or f"; legal are {', '.join(legal)}")
    if problem == "missing":
        return f"{where}the key '{key}' is missing"
    return f"{where}'{key}' is {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}"


def _guess(word: str, legal: Any) -> str:
    guess = nearest(word, legal)
    return f"; the nearest is '{guess}'" if guess else ""
