"""How commands end: by signals, with help, and with text that a terminal would act on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import saecircuits as sc
from saecircuits.cli.showing import OUT, print_table, say
from saecircuits.cli.stopping import how_to_go_on
from saecircuits.errors import InputError, UnknownNameError, inert
from tests.test_cli import call, check_one_line

# A command that lasts until it is ended, in the place of a long one.
WAITING = """
import sys, time
from saecircuits.cli import app, main
@app.command()
def discover(task: str, out: str = "", overwrite: bool = False) -> None:
    print("ready", flush=True)
    time.sleep(60)
app.registered_commands = app.registered_commands[-1:]
sys.argv = ["saecircuits", "discover", "pronoun", "--out", "a [b]", "--overwrite"]
main()
"""


@pytest.mark.parametrize(("ending", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_command_with_its_status_and_says_how_to_go_on(
    ending: signal.Signals, status: int
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAITING],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "20"},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.05)
        process.send_signal(ending)
        printed, said = process.communicate(timeout=30)
    assert process.returncode == status
    assert printed == ""
    assert said == (
        f"saecircuits: stopped by {ending.name}; whatever was written is complete; go on with: "
        "saecircuits discover pronoun --out 'a [b]' --resume\n"
    )


def test_other_commands_are_run_again() -> None:
    assert how_to_go_on(["validate", "runs/x"]) == "run the command again"


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"saecircuits {sc.__version__}\n"


def test_help_without_a_command_says_nothing_beside_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call(monkeypatch)
    printed = capsys.readouterr()
    assert "Usage" in printed.out + printed.err
    assert "saecircuits: " not in printed.out + printed.err


FOREIGN = ("exp[v2]", "[/bold]", "[red]x", ":smile:", "\x1b[31mred", "\u202eabc", "\x07", "\ud800")


@pytest.mark.parametrize("text", FOREIGN)
def test_foreign_text_is_printed_as_it_is(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(text)
    OUT.print(f"x {text} y")
    print_table(text, pd.DataFrame({"x": [text]}, dtype=object), ["x"])
    printed = capsys.readouterr().out
    shown = text if text.isprintable() else repr(text)[1:-1]
    assert printed.count(shown) == 4  # the table's title and its cell among them
    assert all(char.isprintable() or char == "\n" for char in printed)


def test_paths_with_brackets_are_named_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "validate", str(tmp_path / "exp[v2][/]")) == 2
    check_one_line(capsys, "exp[v2][/]")


@pytest.mark.parametrize(
    "error",
    [
        InputError("a" * 10_000 + "; write b"),
        UnknownNameError("task", "x" * 10_000, ["pronoun"]),
        InputError("two\nlines \x1b[2J"),
    ],
)
def test_messages_are_one_line_of_bounded_length(error: InputError) -> None:
    message = str(error)
    assert len(message) <= 500
    assert message == inert(message)
    assert message.endswith(("; write b", "known: pronoun", "\\x1b[2J"))
