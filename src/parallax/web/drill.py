"""The rehearsals that the operations page offers on the sandbox: faults with names that say what one will see."""

from __future__ import annotations

from typing import Final

from parallax.domain.errors import NotFound
from parallax.web.ports import Exercise

EXERCISES: Final = (
    Exercise(
        "lost_answer",
        "Lose the next answer",
        "The exchange takes the next order and the connection closes before it says so. The order turns unknown and"
        " is found within seconds.",
        "close",
        {"on": "order_create", "when": "after", "times": 1},
    ),
    Exercise(
        "lost_request",
        "Lose the next request",
        "The next order never arrives. It turns unknown, and its absence is proven once the quote is over.",
        "close",
        {"on": "order_create", "when": "before", "times": 1},
    ),
    Exercise(
        "down",
        "Exchange down for 20 seconds",
        "The exchange answers nobody. Pages keep showing what is known, and recover by themselves.",
        "restart",
        {"down_seconds": 20, "times": 1},
    ),
    Exercise(
        "errors",
        "Errors in the next five calls",
        "Five answers with 503. Reads are tried again; an order among them turns unknown.",
        "status",
        {"status": 503, "times": 5},
    ),
    Exercise(
        "slow",
        "Slow by 3 seconds",
        "The next ten answers are late. The exchange's state turns slow, and the margin for sending grows.",
        "delay",
        {"seconds": 3, "times": 10},
    ),
    Exercise(
        "limited",
        "Rate limited",
        "Three calls are answered with 429 and asked to wait 5 seconds.",
        "rate_limited",
        {"retry_after": 5, "times": 3},
    ),
    Exercise(
        "clock",
        "Clock two minutes ahead",
        "The exchange's clock jumps. Countdowns follow it, and the header shows the difference.",
        "clock_skew",
        {"seconds": 120},
    ),
    Exercise(
        "twice",
        "Send the next order twice",
        "Something on the way repeats the request. The second is refused, and the desk finds that the order is its"
        " own.",
        "duplicate",
        {"on": "order_create", "times": 1},
    ),
    Exercise(
        "mind",
        "Change of mind",
        "The next order settles and later says something else. The desk keeps the first result and raises an"
        " incident when it reads the list next: in minutes, or at once with Read again on the orders.",
        "change_of_mind",
        {"on": "order_create", "seconds": 4, "times": 1},
    ),
)
"""What is on offer, in the order it is shown."""


def exercise(key: str) -> Exercise:
    """The rehearsal of a key. Raises `NotFound`."""
    found = next((each for each in EXERCISES if each.key == key), None)
    if found is None:
        raise NotFound("drill", key)
    return found
