"""Reasons of refusal, from bodies of any shape."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallax.sandbox.refusals import REFUSAL_SHAPES, Refusal
from parallax.venues.reasons import MAX_REASON_LENGTH, MAX_REASONS, plain, read_reasons


@pytest.mark.parametrize(
    ("body", "words", "fields"),
    [
        (
            {"errors": {"quote_id": ["is used", "is old"]}},
            ("quote_id: is used", "quote_id: is old"),
            {"quote_id"},
        ),
        ({"data": {"errors": {"quote_id": ["is used"]}}}, ("quote_id: is used",), {"quote_id"}),
        ({"errors": ["one", "two"]}, ("one", "two"), {""}),
        ({"errors": "one"}, ("one",), set()),
        ({"error": "one"}, ("one",), set()),
        ({"error": {"message": "one", "code": "E1"}}, ("one",), {""}),
        ({"errors": {"detail": "Not Found"}}, ("Not Found",), {""}),
        ({"title": "Bad", "detail": "one", "status": 422}, ("one", "Bad"), set()),
        ({"message": "one"}, ("one",), set()),
        ("one", ("one",), set()),
        (["one"], ("one",), {""}),
        ({}, (), set()),
        (None, (), set()),
        (7, (), set()),
    ],
)
def test_shapes_in_use(body: object, words: tuple[str, ...], fields: set[str]) -> None:
    found = read_reasons(json.dumps(body).encode())
    assert (found.words, set(found.fields)) == (words, fields)


@pytest.mark.parametrize("shape", sorted(set(REFUSAL_SHAPES) - {"html", "empty", "detail"}))
def test_every_shape_of_the_sandbox_with_words_gives_them(shape: str) -> None:
    body, _ = REFUSAL_SHAPES[shape](Refusal(422, {"quote_id": ["has been used"]}))
    (reason,) = read_reasons(body).words
    assert reason.replace(":", "") == "quote_id has been used"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"plain words", ("plain words",)),
        (b"<html><head><title>413 Too Large</title></head><body>x</body></html>", ("413 Too Large",)),
        (b"<h1>no title</h1>", ()),
        (b"\xef\xbb\xbfnot json", ("not json",)),
        (b"", ()),
        (b"\x00\x1b[31mred\x07\r\n\xe2\x80\xae text", ("[31mred text",)),
    ],
)
def test_text(body: bytes, words: tuple[str, ...]) -> None:
    assert read_reasons(body).words == words


def test_words_are_few_short_and_plain() -> None:
    body = json.dumps({"errors": {f"f{n}": ["x" * 5_000, "a\u202eb\x00c"] for n in range(100)}}).encode()
    found = read_reasons(body)
    assert len(found.words) == MAX_REASONS
    assert all(len(words) <= MAX_REASON_LENGTH and words.isprintable() for words in found.words)


def test_more_fields_than_are_kept_never_look_like_fewer() -> None:
    many = {"from_amount": ["no"], **{f"f{n}": ["no"] for n in range(50)}}
    assert read_reasons(json.dumps({"errors": many}).encode()).fields > {"from_amount"}
    deep: object = ["no"]
    for _ in range(10):
        deep = {"from_amount": deep}
    assert "" in read_reasons(json.dumps({"errors": deep}).encode()).fields


@given(st.text())
def test_plain_text_has_one_line_and_a_bound(text: str) -> None:
    line = plain(text)
    assert len(line) <= MAX_REASON_LENGTH
    assert "\n" not in line
    assert line.isprintable()
