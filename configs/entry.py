"""What every command shares: its overrides are checked before anything happens, and a user's mistake is one line."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import hydra
from omegaconf import DictConfig

from configs.command import fail, print_anywhere, reader_left, stopped
from configs.compose import compose, resolve_entry
from configs.errors import UserError
from configs.groups import FOLDER, HYDRA_VERSION_BASE
from configs.hydra_private import BasicSweeper, get_args_parser
from configs.overrides import parse
from configs.text_values import as_typed, quoted


def entry_point(
    config_name: str, literal: Sequence[str] = ()
) -> Callable[[Callable[[Any], int | None]], Callable[[], None]]:
    """Make `main(config) -> exit code` a command that is configured by `configs/<config_name>.yaml`.

    `main` gets the typed, checked config. A UserError, from the overrides or from `main`, is printed as
    `error: ...` on stderr, exit code 2; a closed pipe ends it without a word, exit code 141, and Ctrl-C with one, 130.
    Values of the keys in `literal` are taken as they are typed, without Hydra's grammar, so that a prompt may hold
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
                # Hydra drops what a job returns, so a code other than 0 leaves as an exit; it also ends a sweep.
                raise SystemExit(code)

        def command() -> None:
            print_anywhere()
            try:
                sys.argv[1:] = as_typed(config_name, [_literally(argument, literal) for argument in sys.argv[1:]])
                _check(config_name, sys.argv[1:])
            except UserError as error:
                fail(error)
            try:
                hydra.main(version_base=HYDRA_VERSION_BASE, config_path=str(FOLDER), config_name=config_name)(job)()
            except KeyboardInterrupt:
                stopped()

        command.__doc__ = main.__doc__
        return command

    return decorate


def _check(config_name: str, arguments: list[str]) -> None:
    """Compose every job once before Hydra does, whose own messages take many lines and exit with 1."""
    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    args, unknown = parser.parse_known_args(arguments)
    for flag in unknown:
        if not flag.startswith("-"):
            raise UserError(f"{flag}: key=value goes before or after all options, not between them and other keys")
        key, _, value = flag.lstrip("-").partition("=")
        raise UserError(f"{flag}: keys are written without dashes; type {key}={value or 'VALUE'}, or --help")
    looks_only = args.help or args.hydra_help or args.info or args.shell_completion
    own_configs = args.config_dir or args.config_name or args.config_path or args.experimental_rerun
    if looks_only or own_configs:
        return
    if args.multirun and args.cfg:
        raise UserError("--cfg shows the config of one job: leave out -m")
    if not args.multirun:
        compose(config_name, args.overrides)
        return
    for jobs in BasicSweeper.split_arguments(parse(config_name, args.overrides), None):
        for overrides in jobs:
            compose(config_name, overrides)


def refuse(message: str) -> NoReturn:
    """What argparse is to do with a mistake. Raises UserError."""
    raise UserError(f"{message}; --help shows what may be typed")


def _literally(argument: str, keys: Sequence[str]) -> str:
    key, equals, value = argument.partition("=")
    return quoted(key, value) if equals and key in keys else argument
