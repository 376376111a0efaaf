"""Sweeps: one file of `sweeps/` becomes the list of runs that a table or figure is made of; `-m` has a list of its own.

A sweep file says what all runs have (`set`), what is combined (`grid`, the first axis slowest), which named rows there
are (`rows`, each a set of overrides), and for each of its profiles what differs. The command line has the last word.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from configs.errors import UserError
from configs.groups import LAUNCHERS, SWEEPERS, defaults, groups, options, schema
from configs.hydra_private import BasicSweeper, Override
from configs.overrides import OF_SWEEPS, parse
from configs.printable import shortened
from configs.search import SweeperConfig, sweeper_of
from configs.strict import illegal_value, keys, nearest, unknown_key
from configs.text_values import refuse_line_ends

FOLDER = Path(__file__).resolve().parent.parent / "sweeps"
PROFILES = ("smoke", "cpu", "paper")
PARTS = ("title", "set", "grid", "rows", "profiles", "table")
IN_PROFILES = ("set", "grid", "rows")
# Of table or figure; what makes each is in results/tables/kinds.py.
KINDS = ("checkpoints", "finals", "rates", "scale", "copy_depth", "coupling", "synchrony", "recall", "translation")


@dataclass(frozen=True)
class Job:
    """One run of a sweep: its overrides of train.yaml, and the row of the table it belongs to."""

    overrides: tuple[str, ...]
    row: str = ""


@dataclass
class Sweep:
    """A sweep in one profile, expanded. `axes`: the keys that its runs differ in, besides the row."""

    name: str
    profile: str
    title: str
    jobs: list[Job]
    axes: list[str]
    header: str = ""  # the comment at the top of the file: command, cost, expected numbers
    kind: str = "finals"  # what is made of its records, one of KINDS
    baseline: str = "transformer"  # the model or row that differences are taken to
    own_corpus: bool = False  # its table has no runs on other corpora, unless one is typed


@dataclass
class Request:
    """What a command line asks of a sweep."""

    name: str  # empty with -m: the runs are all combinations of what the overrides have several values of
    profile: str = "cpu"
    status: bool = False  # only say which runs are done
    retry_failed: bool = False
    plan: bool = False  # only print the runs
    overrides: list[str] = field(default_factory=list)  # of every run
    launcher: list[str] = field(default_factory=list)  # how runs are started: launcher=joblib, hydra.launcher...
    sweeper: SweeperConfig = field(default_factory=SweeperConfig)  # how runs are chosen


def names() -> list[str]:
    """The sweeps there are."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def requested(arguments: Sequence[str]) -> Request | None:
    """What `+sweeps=NAME [profile=..] [status=true] [retry_failed=true] [plan=true] [launcher=..] [sweeper=..]
    [key=value ...]` asks, or `-m` in place of the first two; None when it is one run. Raises UserError for a value that
    is not legal.
    """
    refuse_line_ends(arguments)
    given = [text for text in arguments if text.partition("=")[0].lstrip("+") == "sweeps"]
    many = [text for text in arguments if text == "-m" or (len(text) > 2 and "--multirun".startswith(text))]
    if not given:
        for key, _, value in (text.partition("=") for text in arguments):
            if value in names() and "." not in key and key not in _keys_of_runs():  # +sweep=fsn-enwik8
                raise unknown_key(key.lstrip("+"), ["+sweeps"], value)
        if not many or any(text.startswith("-") for text in arguments if text not in many):
            return None  # what other options do is said, or refused, where a run is started
    request = Request(given[-1].partition("=")[2] if given else "")
    if given:
        _legal("+sweeps", request.name, names())
    sweeper = []
    for text in arguments:
        key, equals, value = text.partition("=")
        if text in given or text in many:
            continue
        if text.startswith("-") or not equals:
            raise UserError(f"{text}: a sweep takes key=value alone, for example status=true or profile=smoke")
        if key == "profile":
            if not given:
                raise UserError(
                    f"{text}: belongs to a sweep of sweeps/; type +sweeps=NAME in place of -m, or leave it out"
                )
            _legal("profile", value, PROFILES)
            request.profile = value
        elif key in ("status", "retry_failed", "plan"):
            _legal(key, value.lower(), ("true", "false"))
            setattr(request, key, value.lower() == "true")
        elif key == "launcher" or key.lstrip("+~").startswith("hydra"):
            _check_launcher(key, value)
            request.launcher.append(text)
        elif key.partition(".")[0] == SWEEPERS:
            sweeper.append(text)
        elif key == "overwrite" or (key == "run_dir" and given):
            raise UserError(f"{text}: belongs to one run, and this is a sweep; runs=FOLDER moves them all")
        else:
            _no_slip(key, value)
            request.overrides.append(text)
    request.sweeper = sweeper_of(sweeper)
    return request


def _check_launcher(key: str, value: str) -> None:
    """UserError for a launcher that there is not, and for keys of Hydra's that are not of one."""
    if key == "launcher":
        _legal("launcher", value, options(LAUNCHERS))
    elif key.lstrip("+~").startswith(("hydra/launcher", "hydra/sweeper")):
        group = LAUNCHERS if "launcher" in key else SWEEPERS
        guess = nearest(value, options(group)) or options(group)[0]
        raise UserError(f"{key}={value}: is chosen by {group}={'|'.join(options(group))}; type {group}={guess}")
    elif not re.fullmatch(r"\+*hydra\.launcher\.\w+(\.\w+)*", key):
        raise UserError(
            f"{key}={value}: of Hydra's own keys a sweep takes those of a launcher, hydra.launcher.KEY; leave it out"
        )


def _no_slip(key: str, value: str) -> None:
    """UserError for a key of no run that is most like one of a sweep: stauts=true, sweepr.trials=3."""
    first, dot, rest = key.partition(".")
    of_runs = _keys_of_runs()
    if first.lstrip("+~") in of_runs or "/" in key:
        return
    guess = nearest(first, [*OF_SWEEPS, *of_runs])
    if guess in OF_SWEEPS:
        raise unknown_key(key, [f"{guess}{dot}{rest}"], value)


def _keys_of_runs() -> list[str]:
    return [*groups(), *keys(schema("train", defaults("train").get("model")))]


def expand(name: str, profile: str = "cpu", overrides: Sequence[str] = ()) -> Sweep:
    """The runs of a sweep. An override with several values (seed=0,1) or of an axis takes the axis' place; others hold
    for every run. Raises UserError for a sweep file or an override that cannot be.
    """
    _legal("+sweeps", name, names())
    _legal("profile", profile, PROFILES)
    path = FOLDER / f"{name}.yaml"
    content = _load(path)
    own = content["profiles"].get(profile) or {}
    # A row that a profile leaves out with null is not made in it.
    rows = {row: keys for row, keys in {**content["rows"], **(own.get("rows") or {})}.items() if keys is not None}
    settings = {key: _text(value) for key, value in {**content["set"], **(own.get("set") or {})}.items()}
    grid = {key: [_text(v) for v in values] for key, values in {**content["grid"], **(own.get("grid") or {})}.items()}
    of_rows = {key for keys in rows.values() for key in keys}
    for override in _read("train", overrides):
        key, _, value = str(override.input_line).partition("=")
        if key in of_rows:
            raise UserError(f"{key}={value}: the rows of the sweep {name} differ in {key}; leave it out")
        if override.is_sweep_override():
            grid[key] = [str(choice) for choice in override.sweep_string_iterator()]
        elif key in grid:
            grid[key] = [value]
        else:
            settings[key] = value
    jobs = [
        Job(_overrides({**settings, **dict(zip(grid, values, strict=True)), **row}), label)
        for values in itertools.product(*grid.values())
        for label, row in (rows or {"": {}}).items()
    ]
    of_table = content["table"]
    return Sweep(
        name,
        profile,
        title=content["title"],
        jobs=jobs,
        axes=list(grid),
        header=_header(path),
        kind=of_table.get("kind", "finals"),
        baseline=str(of_table.get("baseline", "transformer")),
        own_corpus=bool(of_table.get("own_corpus", False)),
    )


def label_of(job: Job, axes: Sequence[str]) -> str:
    """A job's name among those of its sweep: its row, and its value on each axis."""
    given = dict(text.split("=", 1) for text in job.overrides)
    return " ".join([*([job.row] if job.row else []), *(f"{axis}={given[axis]}" for axis in axes)])


def combined(overrides: Sequence[str], entry: str = "train") -> Sweep:
    """The runs of `-m`: one for each combination of the values that a key has several of, the first key slowest.

    Raises UserError for overrides that cannot be read.
    """
    parsed = _read(entry, overrides)
    (combinations,) = BasicSweeper.split_arguments(parsed, None)
    axes = list(dict.fromkeys(override.get_key_element() for override in parsed if override.is_sweep_override()))
    return Sweep("-m", "", "all combinations of " + ", ".join(axes), [Job(tuple(job)) for job in combinations], axes)


def _read(entry: str, overrides: Sequence[str]) -> list[Override]:
    """The overrides. UserError for values that cannot be counted, those of an interval for example."""
    parsed = parse(entry, overrides)
    for override in parsed:
        key = override.get_key_element()
        with_commas = ",".join(options(key)[:2]) if key in groups() else "0.001,0.002"
        try:
            if override.is_sweep_override():
                list(override.sweep_string_iterator())
        except HydraException:
            raise UserError(f"{override.input_line}: takes values one by one; type {key}={with_commas}") from None
    return parsed


def _overrides(settings: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(f"{key}={_text(value)}" for key, value in settings.items())


def _load(path: Path) -> dict[str, Any]:
    try:
        content: Any = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, ValueError, RecursionError, YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"cannot read the sweep {path}: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a sweep: it takes the parts {', '.join(PARTS)}")
    content = {"title": path.stem} | {part: {} for part in PARTS[1:]} | content
    if isinstance(content["title"], int | float):
        content["title"] = str(content["title"])
    if not isinstance(content["title"], str):
        raise UserError(f"{path}: 'title' is {shortened(content['title'])}, not a text")
    _check_parts(path, "", content, PARTS)
    _check_parts(path, "table.", content["table"], ("kind", "baseline", "own_corpus"))
    _legal(f"{path}: table.kind", content["table"].get("kind", "finals"), KINDS)
    _check_parts(path, "profiles.", content["profiles"], PROFILES)
    for profile, parts in content["profiles"].items():
        _check_parts(path, f"profiles.{profile}.", parts or {}, IN_PROFILES)
    return content


def _check_parts(path: Path, where: str, parts: Any, legal: Sequence[str]) -> None:
    """UserError for a part that no sweep has, or that is not of the form it must have."""
    if not isinstance(parts, dict):
        raise UserError(f"{path}: '{where.rstrip('.')}' is not a mapping")
    for key, value in parts.items():
        if key not in legal:
            raise UserError(f"{path}: unknown part '{where}{key}'; legal are {', '.join(legal)}")
        if key in ("set", "grid", "rows", "table") and not isinstance(value, dict):
            raise UserError(f"{path}: '{where}{key}' is not a mapping of keys to values")
        if key in ("set", "grid", "rows") and not all(isinstance(name, str) for name in value):
            raise UserError(f"{path}: '{where}{key}' has a name that is no text; put it in quotation marks")
        if key == "rows" and not all(row is None or isinstance(row, dict) for row in value.values()):
            raise UserError(f"{path}: '{where}{key}' takes a mapping of keys to values for each row")
        if key == "grid" and not all(isinstance(values, list) and values for values in value.values()):
            raise UserError(f"{path}: '{where}{key}' takes a list of values for each key")


def _header(path: Path) -> str:
    lines = itertools.takewhile(lambda line: line.startswith("#"), path.read_text(encoding="utf-8").splitlines())
    return "\n".join(line[1:].strip() for line in lines)


def _text(value: Any) -> str:
    """A YAML value as an override is typed."""
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _legal(key: str, value: str, legal: Sequence[str]) -> None:
    if value not in legal:
        raise illegal_value(key, value, legal)
