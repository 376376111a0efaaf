"""What every command shares, whatever configures it: the terminal it writes to, and how it ends. Imports nothing large.

The system may take ASCII alone (LC_ALL=C, PYTHONIOENCODING=ascii). What is printed then has stand-ins; what is written
into files is UTF-8 all the same.
"""

import codecs
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from configs.errors import UserError
from configs.printable import in_one_line

STAND_INS = "synchrony.stand_ins"  # the name of the error handler
# For characters that we print and a terminal may lack; any other becomes "?".
ASCII = {
    "±": "+-",
    "·": "|",
    "│": "|",
    "…": "...",
    "≥": ">=",
    "≈": "~",
    "°": " deg",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{MINUS SIGN}": "-",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "--",
    **{chr(code): name for code, name in ((0x393, "Gamma"), (0x394, "Delta"), (0x3B1, "alpha"), (0x3B8, "theta"))},
    **{chr(code): name for code, name in ((0x3BA, "kappa"), (0x3C9, "omega"), (0x3C0, "pi"))},
}


def _stand_ins(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(ASCII.get(c, "?") for c in error.object[error.start : error.end]), error.end


codecs.register_error(STAND_INS, _stand_ins)


def print_anywhere() -> None:
    """From now on print characters that an output cannot encode as stand-ins: none may end a run or hide a result."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where a test or a notebook has put something else there
            stream.reconfigure(errors=STAND_INS)


def can_draw() -> bool:
    """Whether stderr is a terminal that a bar can be drawn on. Where not, plain lines: in a pipe, a log of CI, and on a
    terminal that cannot move its cursor (TERM=dumb, as in an editor).
    """
    moves = os.environ.get("TERM", "dumb").lower() not in ("", "dumb", "unknown")
    return sys.stderr.isatty() and moves and os.environ.get("CI", "").lower() in ("", "0", "false")


def end_with(main: Callable[[], int | None], usage: str | None = None) -> NoReturn:
    """Run `main` as a command and exit with its code. `usage` is printed instead where --help is typed.

    A UserError is one line `error: ...` on stderr, code 2; a closed pipe ends it silently, code 141; Ctrl-C with one
    word, 130.
    """
    print_anywhere()
    try:
        if usage is not None and {"-h", "--help"} & set(sys.argv[1:]):
            print(usage.strip(), flush=True)
            raise SystemExit(0)
        raise SystemExit(main())
    except UserError as error:
        fail(error)
    except BrokenPipeError:
        reader_left()
    except KeyboardInterrupt:
        stopped()
    except Exception as error:
        if cut_off(error):  # a library's cleaning up failed, because Ctrl-C had come in the middle of its work
            stopped()
        raise


def cut_off(error: BaseException | None) -> bool:
    """Whether an error came up while Ctrl-C or a signal (training/signals.py) was being handled."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt) or (not isinstance(error, Exception) and hasattr(error, "exit_code")):
            return True
        error = error.__context__
    return False


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
    """Print a user's mistake on one line of stderr and exit with its code."""
    print(f"error: {line_of(error)}", file=sys.stderr)
    raise SystemExit(error.exit_code)


def line_of(error: UserError) -> str:
    """A mistake in one line. Notes (which run, at which step) follow."""
    notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
    return in_one_line(" ".join(f"{error}{notes}".split()))
