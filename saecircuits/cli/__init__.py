"""The command line. Thin: each command loads what it was asked for and calls one public function.

Heavy libraries are imported inside the commands, so that `--help` answers at once. Exit status: 0
done; 2 bad input, or a path that the system refuses (one line on the error stream, nothing
written); 128 and the signal's number for a command that a signal ended (130 for Ctrl-C); 1 a fault
of ours.
"""

import sys

import typer

from saecircuits.cli.app import app as app
from saecircuits.cli.showing import complain
from saecircuits.cli.stopping import Stopped, how_to_go_on, stoppable
from saecircuits.errors import InputError, SaecircuitsError


def main() -> None:
    """The entry point: turns the package's errors into one line and an exit status."""
    with stoppable():
        try:
            # Without standalone mode a command that ended early has its status returned.
            status = app(standalone_mode=False)
        except InputError as error:
            complain(str(error))
            status = 2
        except SaecircuitsError as error:
            complain(str(error))
            status = 1
        except OSError as error:
            # A path that the system refuses: too long, a loop of links, no permission.
            complain(f"{error.filename or 'the system'}: {error.strerror or error}")
            status = 2
        except Stopped as stop:
            complain(f"stopped by {stop.name}; {how_to_go_on(sys.argv[1:])}")
            status = stop.status
        except typer.Abort:
            status = 130
        except typer.Exit as stop:
            status = stop.exit_code
        except Exception as error:
            message = getattr(error, "format_message", None)
            if message is None:
                raise
            # A usage error of the parser: one line, not a page. It is empty where help was shown.
            if message():
                complain(message())
            status = 2
    if status:
        sys.exit(status)
