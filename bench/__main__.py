"""`python -m bench [GROUP…]`: run the measurements and print them; the exit status is 1 when a bar is missed."""

from __future__ import annotations

import importlib
import sys
import time

from bench.machine import Processors

GROUPS = {
    "calls": "calls to the exchange, and how soon news is shown (virtual time)",
    "journal": "facts made durable",
    "api": "the JSON API, with the sandbox as its own process",
    "web": "the pages, in headless Chromium",
}


def main(names: list[str]) -> int:
    """Run the named groups, or all."""
    unknown = [name for name in names if name not in GROUPS]
    if unknown:
        print(f"No such group: {', '.join(unknown)}. There are: {', '.join(GROUPS)}.", file=sys.stderr)
        return 2
    print(f"Python {' '.join(sys.version.split())}\n")
    held = True
    for name in names or GROUPS:
        began, processors = time.monotonic(), Processors()
        held &= importlib.import_module(f"bench.{name}").run(GROUPS[name])
        seconds, stolen = time.monotonic() - began, processors.stolen()
        print(f"({name}: {seconds:.0f} s; the host took {stolen:.1%} of the processors' time)\n")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
