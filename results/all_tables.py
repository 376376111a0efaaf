"""Every table and figure, and the claims, from the committed records: `python -m results.all_tables`.

In one process, which reads the records once. `make tables` runs it.
"""

import sys

from configs.command import end_with, line_of
from configs.errors import UserError
from results import target
from results.claims import __main__ as claims


def main() -> int:
    """The command; a target that cannot be made does not stop the others. The last exit code that is not 0, or 0."""
    code = 0
    for make, arguments in [*((target.main, [name]) for name in target.targets()), (claims.main, [])]:
        try:
            code = make(arguments) or code
        except UserError as error:
            print(f"error: {line_of(error)}", file=sys.stderr)
            code = error.exit_code
    return code


if __name__ == "__main__":
    end_with(main, __doc__)
