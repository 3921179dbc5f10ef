"""A program for the crash test: loads the desk once, and makes a process of it for each byte that it reads.

Loading is nine tenths of a start; without doing it again and again, thirty kills take half a minute less. Each desk is
a process of its own, and begins where `parallax serve` does. Says the process's number, and "gone" when it is.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

from parallax.cli import main

LOADED = ("parallax.cli.app", "parallax.cli.serve", "parallax.server")


def run() -> None:
    """Read until there is no more."""
    sys.argv = ["parallax", "serve"]
    for module in LOADED:
        import_module(module)
    while os.read(0, 1):  # a byte a desk, unbuffered: nothing is left over for a child to read again
        child = os.fork()
        if child == 0:
            main()
        say(f"process {child}")
        os.waitpid(child, 0)
        say(f"gone {child}")


def say(words: str) -> None:
    """A line for the test."""
    os.write(1, f"{words}\n".encode())


if __name__ == "__main__":
    run()
