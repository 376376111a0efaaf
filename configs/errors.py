"""The one exception for mistakes that a user can correct."""


class UserError(Exception):
    """One line that says what is wrong, where, and what to type instead; commands print it and exit with its code."""

    exit_code = 2
