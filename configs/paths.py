"""Paths as a user types them: `~` is the home folder, and an error says where there is none."""

import os

from configs.errors import UserError


def expanded(text: str, key: str) -> str:
    """The path that the user's `key` names, with a leading `~` or `~name` replaced by that home folder.

    UserError where there is no such folder: a folder that is called `~` is never meant. `./~name` is a name of its own.
    """
    if not text.startswith("~"):
        return text
    user, slash, rest = text[1:].partition("/")
    # A container may start a user who has neither HOME nor a line in /etc/passwd.
    home = "" if not user and os.environ.get("HOME") == "" else os.path.expanduser(f"~{user}")
    if os.path.isabs(home):
        return home.rstrip("/") + slash + rest or "/"
    if user:
        raise UserError(f"{key}={text}: there is no user {user}; for a file of this name type {key}=./{text}")
    raise UserError(
        f"{key}={text}: there is no home folder, because HOME is not set; type a path without ~, such as "
        f"{key}=/tmp/{rest or 'folder'}"
    )
