"""Where the password for a server is told: what each kind of server declares among its settings.

The password itself is read by `engine.settings.secrets`.
"""

from typing import Annotated

import msgspec

from engine.settings.declared import Setting
from engine.settings.secrets import Secret
from engine.settings.types import TextSetting

PASSWORD_WAYS = ("password_file", "password_variable", "password_command")
"""Of which one is to be given."""


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """Where a password is."""

    password_file: Annotated[
        str,
        Setting(
            "password_file",
            TextSetting("a file's path, or nothing"),
            "A file whose first line is the password. {account} and {login} in it stand for the "
            "account and for the name that it logs in with, here and in commands.",
        ),
    ] = ""
    password_variable: Annotated[
        str,
        Setting(
            "password_variable",
            TextSetting("a variable's name, or nothing", r"[A-Za-z0-9_]*"),
            "Or the environment variable that holds it.",
        ),
    ] = ""
    password_command: Annotated[
        str,
        Setting(
            "password_command",
            TextSetting("a command, or nothing"),
            "Or a command that prints it. It is run without a shell.",
        ),
    ] = ""

    @property
    def secret(self) -> Secret:
        """Where it is read from."""
        return Secret(self.password_file, self.password_variable, self.password_command)
