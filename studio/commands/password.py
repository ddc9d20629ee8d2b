"""`duet password`."""

import getpass
import sys

from studio.commands.options import PasswordOptions
from studio.commands.shared import print_line
from studio.errors import UsageError
from studio.ui.login import make_line


def run(options: PasswordOptions) -> int:
    """Print the line of a login; the password comes from the terminal, or from standard input."""
    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != password:
            raise UsageError("The two passwords differ; run the command again.")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    print_line(make_line(options.name, password))
    return 0
