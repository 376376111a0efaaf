"""The claims of claims.yaml as typed values. A key that is missing, unknown or of another form is named in one line."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from configs.errors import UserError
from configs.strict import nearest
from results.claims.claim import Check, Claim, Hindered, Judge, StatedProtocol, Value
from results.claims.cost import Flops, LayerCost
from results.claims.heads_and_copies import ActiveShare, CopyDepth, StartDiversity
from results.claims.losses import BelowEverywhere, EverySeedBelow, FinalDifference, FinalLevel, LadderBelow
from results.claims.verdict import STATUSES

PATH = Path(__file__).parent / "claims.yaml"
CHECKS: dict[str, type[Check]] = {
    "level": FinalLevel,
    "below_everywhere": BelowEverywhere,
    "every_seed_below": EverySeedBelow,
    "difference": FinalDifference,
    "ladder_below": LadderBelow,
    "copy_depth": CopyDepth,
    "start_diversity": StartDiversity,
    "active_share": ActiveShare,
    "flops": Flops,
    "layer_cost": LayerCost,
}


def load_claims(path: Path = PATH) -> list[Claim]:
    """The claims in the order of the file. UserError for a file, a claim or a key that is not as it must be."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"cannot read the claims {path}: {error}") from None
    if not isinstance(content, list):
        raise UserError(f"{path} is not a list of claims: begin each with '- id:'")
    claims: list[Claim] = []
    for number, entry in enumerate(content, 1):
        name = entry.get("id", number) if isinstance(entry, dict) else number
        claim = _claim(entry, f"{path}: claim '{name}'")
        if any(other.id == claim.id for other in claims):
            raise UserError(f"{path}: two claims have the id '{claim.id}': give one of them another")
        claims.append(claim)
    return claims


def _claim(entry: Any, where: str) -> Claim:
    given = _mapping(entry, where)
    values, hindered, check = given.get("values"), given.get("hindered"), given.get("check")
    if isinstance(values, list):
        given["values"] = tuple(_build(Value, value, f"{where}: values") for value in values)
    if "protocol" in given:
        given["protocol"] = _build(StatedProtocol, given["protocol"], f"{where}: protocol")
    if hindered is not None:
        given["hindered"] = _build(Hindered, hindered, f"{where}: hindered")
        if given["hindered"].status not in STATUSES[2:]:
            raise UserError(f"{where}: hindered.status is {given['hindered'].status!r}; {' or '.join(STATUSES[2:])}")
    if check is not None:
        given["check"] = _check(check, f"{where}: check")
    claim: Claim = _build(Claim, given, where)
    if claim.hindered is None:
        if not isinstance(claim.check, Judge):
            raise UserError(f"{where}: its check cannot judge it: say in 'hindered' why it has no verdict")
        if fault := claim.check.fault(claim):
            raise UserError(f"{where}: {fault}")
    return claim


def _check(entry: Any, where: str) -> Check:
    given = _mapping(entry, where)
    kind = given.pop("kind", None)
    if kind not in CHECKS:
        guess = nearest(str(kind), CHECKS)
        hint = f"; the nearest is {guess}" if guess else ""
        raise UserError(f"{where}: kind is {kind!r}, legal are {', '.join(CHECKS)}{hint}")
    check: Check = _build(CHECKS[kind], given, where)
    return check


def _mapping(entry: Any, where: str) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise UserError(f"{where}: it is not a mapping of keys to values")
    return dict(entry)


def _build(kind: type, entry: Any, where: str) -> Any:
    """A dataclass from plain values, all of its keys given, unless they have defaults."""
    given, known = _mapping(entry, where), {f.name: f for f in fields(kind)}
    for key in given:
        if key not in known:
            guess = nearest(str(key), known)
            hint = f"the nearest is '{guess}'" if guess else f"legal are {', '.join(known)}"
            raise UserError(f"{where}: unknown key '{key}'; {hint}")
    for key, entry_of in known.items():
        if key not in given and entry_of.default is MISSING:
            raise UserError(f"{where}: the key '{key}' is missing")
    hints: Mapping[str, Any] = get_type_hints(kind)
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    for key, value in values.items():
        if not _fits(value, hints[key]):
            raise UserError(f"{where}: '{key}' is {given[key]!r}, which is not of the form it must have")
    return kind(**values)


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_fits(part, get_args(hint)[0]) for part in value)
    if options := get_args(hint):
        literal = [option for option in options if isinstance(option, str)]
        return value in literal if literal else any(_fits(value, option) for option in options)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint) and not (hint is int and isinstance(value, bool)) and value != ""
