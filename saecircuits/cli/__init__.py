"""The command line. Thin: each command loads what it was asked for and calls one public function.

Heavy libraries are imported inside the commands, so that `--help` answers at once. Exit status: 0
done, 2 bad input (one line on the error stream, nothing written), 1 a fault of ours.
"""

import sys

import typer

from saecircuits.cli.app import app as app
from saecircuits.cli.showing import NOTES
from saecircuits.errors import InputError, SaecircuitsError


def main() -> None:
    """The entry point: turns the package's errors into one line and exit status 2."""
    try:
        app(standalone_mode=False)
    except InputError as error:
        NOTES.print(f"saecircuits: {error}", markup=False, soft_wrap=True)
        sys.exit(2)
    except typer.Abort:
        sys.exit(130)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except SaecircuitsError as error:
        NOTES.print(f"saecircuits: {error}", markup=False, soft_wrap=True)
        sys.exit(1)
    except Exception as error:
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        # A usage error of the parser: one line, not a page.
        NOTES.print(f"saecircuits: {message()}", markup=False, soft_wrap=True)
        sys.exit(2)
