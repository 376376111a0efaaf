"""What every command shares: its overrides are checked before anything happens, and a user's mistake is one line."""

import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import hydra
from omegaconf import DictConfig

from configs.compose import compose, resolve_entry
from configs.errors import UserError
from configs.groups import FOLDER, HYDRA_VERSION_BASE
from configs.hydra_private import BasicSweeper, get_args_parser
from configs.overrides import parse
from configs.printable import in_one_line
from configs.saved import escaped


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
            sys.argv[1:] = [_literally(argument, literal) for argument in sys.argv[1:]]
            try:
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


def reader_left() -> NoReturn:
    """Whoever read our output has gone (`| head`): leave as programs that a signal ends, with 128 + SIGPIPE."""
    # The interpreter flushes once more at exit, and would complain again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(141)


def stopped() -> NoReturn:
    """Ctrl-C where nothing is to be saved, while packages are loaded for example: no traceback, 128 + SIGINT."""
    print("stopped", file=sys.stderr)
    raise SystemExit(130)


def fail(error: UserError) -> NoReturn:
    """Print a user's mistake on one line of stderr and exit with 2."""
    print("error: " + in_one_line(" ".join(str(error).split())), file=sys.stderr)
    raise SystemExit(2)


def _check(config_name: str, arguments: list[str]) -> None:
    """Compose every job once before Hydra does, whose own messages take many lines and exit with 1."""
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]
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


def _refuse(message: str) -> NoReturn:
    raise UserError(f"{message}; --help shows what may be typed")


def _literally(argument: str, keys: Sequence[str]) -> str:
    key, equals, value = argument.partition("=")
    return quoted(key, value) if equals and key in keys else argument


def quoted(key: str, value: str) -> str:
    """The override that gives `key` this very text: `prompt='f(a, b)'`, with all that OmegaConf (${) and Hydra (quotes)
    would read escaped.
    """
    value = escaped(value)
    value = re.sub(r"(\\*)'", r"\1\1\\'", value)
    value = re.sub(r"(\\+)\Z", r"\1\1", value)
    return f"{key}='{value}'"
