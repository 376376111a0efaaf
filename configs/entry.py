"""What every command shares: its overrides are checked before anything happens, and a user's mistake is one line."""

import re
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import hydra
from omegaconf import DictConfig

from configs.command import fail, print_anywhere, reader_left, stopped
from configs.compose import compose, resolve_entry
from configs.errors import UserError
from configs.groups import FOLDER, HYDRA_VERSION_BASE
from configs.hydra_private import get_args_parser
from configs.sweeps import combined, label_of
from configs.text_values import as_typed, quoted, refuse_line_ends

OF_HYDRA = ("hydra.run.dir", "hydra.job.name", "hydra.output_subdir", "hydra.verbose")  # what a single run may set


def entry_point(
    config_name: str, literal: Sequence[str] = ()
) -> Callable[[Callable[[Any], int | None]], Callable[[], None]]:
    """Make `main(config) -> exit code` a command that is configured by `configs/<config_name>.yaml`.

    `main` gets the typed, checked config. A UserError, from the overrides or from `main`, is printed as `error: ...` on
    stderr, exit code 2; a closed pipe ends it silently, exit code 141, and Ctrl-C with one word, 130. With `-m` it gets
    the config of one job after another; a job that fails does not stop the others, and is named at the end, exit code
    1. Values of the keys in `literal` are taken as they are typed, without Hydra's grammar, so that a prompt may hold
    brackets and quotes.
    """

    def decorate(main: Callable[[Any], int | None]) -> Callable[[], None]:
        def job(cfg: DictConfig) -> None:
            try:
                code = main(resolve_entry(config_name, cfg))
            except UserError as error:
                fail(error)
            except BrokenPipeError:
                reader_left()
            if code:
                # Hydra drops what a job returns, so a code other than 0 is raised as an exit, which also ends a sweep.
                raise SystemExit(code)

        def command() -> None:
            print_anywhere()
            try:
                refuse_line_ends(sys.argv[1:])
                sys.argv[1:] = as_typed(config_name, [_literally(argument, literal) for argument in sys.argv[1:]])
                many = _check(config_name, sys.argv[1:])
            except UserError as error:
                fail(error)
            try:
                if many is not None:
                    raise SystemExit(_each(main, many))
                hydra.main(version_base=HYDRA_VERSION_BASE, config_path=str(FOLDER), config_name=config_name)(job)()
            except KeyboardInterrupt:
                stopped()

        command.__doc__ = main.__doc__
        return command

    return decorate


def _each(main: Callable[[Any], int | None], jobs: dict[str, Any]) -> int:
    """`main` of each config, by the overrides in which it differs; 1 where one failed."""
    failed: dict[str, str] = {}
    for typed, config in jobs.items():
        print(f"\n{typed}", flush=True)
        try:
            if code := main(config):
                return code  # it was interrupted
        except BrokenPipeError:
            reader_left()
        except UserError as error:
            failed[typed] = " ".join(str(error).split())
        except Exception as error:
            traceback.print_exc()
            failed[typed] = " ".join(f"{type(error).__name__}: {error}".split())
    for typed, reason in failed.items():
        print(f"failed: {typed}: {reason}", file=sys.stderr)
    return int(bool(failed))


def _check(config_name: str, arguments: list[str]) -> dict[str, Any] | None:
    """Compose every job once before Hydra does, whose own messages take many lines and exit with 1.

    With -m the config of each job, by the overrides in which it differs from the others.
    """
    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    args, unknown = parser.parse_known_args(arguments)
    for flag in unknown:
        if not flag.startswith("-"):
            raise UserError(f"{flag}: key=value goes before or after all options, not between them and other keys")
        key, _, value = flag.lstrip("-").partition("=")
        raise UserError(f"{flag}: keys are written without dashes; type {key}={value or 'VALUE'}, or --help")
    if args.help or args.hydra_help or args.info or args.shell_completion:
        return None
    own_configs = args.config_dir or args.config_name or args.config_path or args.experimental_rerun
    if args.multirun and (args.cfg or own_configs):
        raise UserError("-m takes key=value alone: leave out the other options, or -m")
    for override in args.overrides:
        key, _, value = override.partition("=")
        if re.match(r"[+~]*hydra\b", key) and (key not in OF_HYDRA or value in ("", "null")):
            raise UserError(f"{override}: belongs to Hydra and has no effect here; leave it out")
    if own_configs:
        return None
    if not args.multirun:
        compose(config_name, args.overrides)
        return None
    sweep = combined(args.overrides, config_name)
    return {label_of(job, sweep.axes): compose(config_name, job.overrides) for job in sweep.jobs}


def refuse(message: str) -> NoReturn:
    """What argparse is to do with a mistake. Raises UserError."""
    raise UserError(f"{message}; --help shows what may be typed")


def _literally(argument: str, keys: Sequence[str]) -> str:
    key, equals, value = argument.partition("=")
    return quoted(key, value) if equals and key in keys else argument
