"""The command line: help at once, and one clear line with status 2 for whatever a person can mend."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from parallax import __version__
from parallax.cli import COMMANDS
from tests.cli.support import PROGRAM, Shell, run_program

HELP_SECONDS = 0.2
KEY = "key-of-mine-1234"


def test_help_names_every_command_and_the_statuses(shell: Shell) -> None:
    for arguments in ((), ("--help",), ("-h",)):
        ran = shell(*arguments)
        assert ran.status == 0
        assert all(f"  {name} " in ran.out and words in ran.out for name, (_, words) in COMMANDS.items())
        assert "Exit status: 0 " in ran.out


def test_version_is_that_of_the_package(shell: Shell) -> None:
    assert shell("--version").out == f"parallax {__version__}\n"
    assert shell("-V").out == f"parallax {__version__}\n"


def test_help_answers_at_once(installation: Path) -> None:
    took: list[float] = []
    for _ in range(5):
        began = time.perf_counter()
        assert run_program("--help", cwd=installation).status == 0
        took.append(time.perf_counter() - began)
    assert min(took) < HELP_SECONDS  # the quickest of five: the machine may be busy with something else


@pytest.mark.parametrize("arguments", [("--help",), ("--version",)])
def test_nothing_heavy_is_loaded_for_help(installation: Path, arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(PROGRAM), *arguments],
        cwd=installation,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    loaded = set(re.findall(r"\|\s+([\w.]+)$", done.stderr, re.MULTILINE))
    assert "parallax.cli" in loaded
    assert loaded & {"asyncio", "cyclopts", "fastapi", "httpx2", "pydantic", "rich", "sqlite3"} == set()


@pytest.mark.parametrize(
    "command", [*COMMANDS, "journal verify", "journal export", "journal backup", "journal stats"]
)
def test_every_command_explains_itself(shell: Shell, command: str) -> None:
    ran = shell(*command.split(), "--help")
    assert ran.status == 0
    assert f"parallax {command}" in ran.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("bogus", "Unknown command"),
        ("--bogus", "--bogus"),
        ("serve --bogus", "--bogus"),
        ("serve --port many", "--port"),
        ("serve --port 70000", "PORT: "),
        ("serve --host 0.0.0.0", "HOST: 0.0.0.0 would let others in"),
        ("serve --journal", "--journal"),
        ("sandbox --settle 9", "--settle"),
        ("sandbox --settle 9 3", "settle_seconds must be from 9"),
        ("sandbox --fail-share 2", "fail_share must be from 0 to 1"),
        ("sandbox --quotes -1", "quotes must be from 0"),
        ("sandbox --port 0", "is no port"),
        ("sandbox --port 70000", "is no port"),
        ("sandbox --state no/such/place", "no/such/place cannot be opened"),
        ("journal bogus", "bogus"),
        ("journal backup", "TARGET"),
        ("journal verify --anchor 3", "POSITION:HASH"),
        ("journal stats --journal nowhere", "There is no journal"),
    ],
)
def test_what_was_typed_wrong_is_one_line_and_status_2(
    shell: Shell, free_port: Callable[[], int], arguments: str, words: str
) -> None:
    typed = arguments.split()
    if typed[0] == "sandbox" and "--port" not in typed:
        typed += ["--port", str(free_port())]
    ran = shell(*typed)
    assert ran.status == 2
    assert words in ran.one_line


def test_an_empty_key_is_refused(shell: Shell) -> None:
    assert "--api-key" in shell("sandbox", "--api-key", "").one_line


@pytest.mark.parametrize("command", ["serve", "sandbox"])
def test_a_taken_port_is_one_line_and_nothing_is_left_behind(
    shell: Shell, installation: Path, command: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = shell(command, "--port", port)
    assert ran.status == 2
    assert str(port) in ran.one_line
    assert "in use" in ran.one_line
    assert list(installation.iterdir()) == []


def test_settings_that_contradict_each_other_stop_the_start_without_showing_the_key(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", KEY)
    for command in (("serve",), ("journal", "stats")):
        ran = shell(*command)
        assert ran.status == 2
        assert "API_KEY is set and API_URL is not" in ran.one_line
        assert KEY not in ran.err


@pytest.mark.parametrize(
    ("place", "words"),
    [("no/such/place", "there is no "), (".", "cannot be")],
)
def test_a_journal_that_cannot_be_made_stops_the_start(
    shell: Shell, free_port: Callable[[], int], place: str, words: str
) -> None:
    ran = shell("serve", "--port", free_port(), "--journal", place)
    assert ran.status == 2
    assert words in ran.one_line


def test_a_file_that_is_no_journal_stops_the_start_and_is_left_as_it_is(
    shell: Shell, free_port: Callable[[], int], installation: Path
) -> None:
    other = installation / "letters.txt"
    other.write_text("Dear Sir or Madam, " * 1000)
    before = other.read_bytes()
    ran = shell("serve", "--port", free_port(), "--journal", other)
    assert ran.status == 2
    assert "is not a journal" in ran.one_line
    assert other.read_bytes() == before


def test_a_letter_that_the_encoding_lacks_costs_that_letter_alone() -> None:
    words = "from parallax import cli; cli._have_streams(); cli.say('Zo\u00eb \u65e5\u672c')"
    for encoding, shown in (("ascii", b"Zo? ??\n"), ("latin-1", b"Zo\xeb ??\n")):
        ran = subprocess.run(
            [sys.executable, "-c", words],
            check=False,
            env=os.environ | {"PYTHONIOENCODING": encoding},
            capture_output=True,
        )
        assert (ran.returncode, ran.stdout) == (0, shown)
