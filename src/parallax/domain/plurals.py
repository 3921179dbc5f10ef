"""A number with its noun, as every way out writes it."""

from __future__ import annotations


def count(number: int, noun: str) -> str:
    """`1 order`, `2000 orders`: for nouns whose plural is made with an s."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
