"""A list that may be one page of several is never taken for all there is, in whatever words it says so."""

from __future__ import annotations

import json
from typing import Any

import pytest

from parallax.ports.venue import doubt_of
from parallax.venues import wire
from parallax.venues.paging import mark_in_headers

ORDER = {"id": "o-1", "status": "pending", "quote_id": "q-1", "user_id": "u-1", "from_amount": "5.00"}
CALL = "GET /users/:id/orders"
LISTED = 3

MARKED: list[dict[str, Any]] = [
    {"next": "/users?page=2"},
    {"next": {"href": "/users?page=2"}},
    {"next": 2},
    {"Next": "x"},
    {"next_page": 2},
    {"nextPage": 2},
    {"nextPage": "2"},
    {"next-page": "2"},
    {"next_page_url": "/x"},
    {"nextPageUrl": "/x"},
    {"nextPageToken": "abc"},
    {"next_page_token": "abc"},
    {"nextToken": "abc"},
    {"next_cursor": "abc"},
    {"nextCursor": "abc"},
    {"cursor": "abc"},
    {"cursors": {"after": "x", "next": "abc"}},
    {"cursor": {"next": "abc"}},
    {"nextLink": "/x"},
    {"@odata.nextLink": "/x"},
    {"@odata.count": 4},
    {"has_more": True},
    {"hasMore": True},
    {"hasMore": "true"},
    {"hasMore": 1},
    {"HasMore": True},
    {"has-more": True},
    {"has_next": True},
    {"hasNext": "True"},
    {"hasNextPage": True},
    {"pageInfo": {"hasNextPage": True, "endCursor": "x"}},
    {"page_info": {"has_next_page": True}},
    {"more": True},
    {"moreResults": True},
    {"isTruncated": True},
    {"truncated": "true"},
    {"partial": True},
    {"incomplete_results": True},
    {"isLast": False},
    {"last": False},
    {"lastPage": "false"},
    {"complete": False},
    {"total": 4},
    {"total": "4"},
    {"total_count": 4},
    {"totalCount": "4"},
    {"TotalCount": 4},
    {"total-count": 4},
    {"totalResults": 4},
    {"totalElements": 4, "size": 3},
    {"total_entries": 4},
    {"count": 4},
    {"total_pages": 2},
    {"totalPages": "2"},
    {"page_count": 2},
    {"pages": 2},
    {"page": 2},
    {"currentPage": "2"},
    {"offset": 3},
    {"skip": "3"},
    {"limit": 3},
    {"per_page": "3"},
    {"pageSize": 2},
    {"remaining": 1},
    {"links": {"next": "/x"}},
    {"_links": {"next": {"href": "/x"}}},
    {"links": [{"rel": "self", "href": "/"}, {"rel": "next", "href": "/x"}]},
    {"meta": {"pagination": {"next_cursor": "abc"}}},
    {"meta": {"pagination": {"links": {"next": "/x"}}}},
    {"meta": {"total": "4"}},
    {"paging": {"next": "/x"}},
    {"pagination": {"hasMore": True}},
    {"pagination": {"page": 1, "pages": 2}},
    {"meta": {"page": 1, "totalPages": 2}},
]
WHOLE: list[dict[str, Any]] = [
    {},
    {"next": None},
    {"next": ""},
    {"next": False},
    {"has_more": False},
    {"hasMore": "false"},
    {"hasMore": 0},
    {"nextCursor": ""},
    {"next_page": "null"},
    {"total": 3},
    {"totalCount": "3"},
    {"count": 3},
    {"meta": {"page": 1, "total_pages": 1}},
    {"meta": {"total": 3, "limit": 100, "offset": 0}},
    {"pageInfo": {"hasNextPage": False, "endCursor": "x"}},
    {"links": {"next": None, "self": "/x"}},
    {"_links": {"self": {"href": "/x"}}},
    {"links": [{"rel": "self", "href": "/"}]},
    {"last": True, "first": True},
    {"message": "ok", "status": "success"},
]
MARKED_HEADERS: list[tuple[str, str]] = [
    ("link", '</x?page=2>; rel="next"'),
    ("link", "</x?page=2>; rel='next'"),
    ("link", "</x?page=2>; rel=next"),
    ("link", "</x?page=2>;rel = next"),
    ("link", '</x?page=2>; REL="Next"'),
    ("link", '</x?page=1>; rel="first", </x?page=2>; title="a"; rel="next last"'),
    ("x-total-count", "4"),
    ("x-total", "4"),
    ("total-count", "4"),
    ("x-total-pages", "2"),
    ("x-next-page", "2"),
    ("x-next-cursor", "abc"),
    ("x-has-more", "true"),
    ("x-page", "2"),
    ("x-per-page", "3"),
    ("x-pagination", '{"totalCount": 4, "page": 1}'),
    ("x-pagination-total-count", "4"),
    ("x-pagination-page-count", "2"),
    ("x-wp-totalpages", "2"),
    ("content-range", "orders 0-2/4"),
    ("content-range", "items 0-2/*"),
    ("content-range", "0-2/4"),
    ("content-range", "anything"),
]
WHOLE_HEADERS: list[tuple[str, str]] = [
    ("link", '</style.css>; rel="preload"'),
    ("link", '</x?page=next>; rel="self"'),
    ("x-total-count", "3"),
    ("x-next-page", ""),
    ("x-has-more", "false"),
    ("x-page", "1"),
    ("x-per-page", "100"),
    ("x-pagination", '{"totalCount": 3}'),
    ("content-range", "orders 0-2/3"),
    ("x-ratelimit-remaining", "99"),
    ("x-request-id", "next"),
]


def doubted(**beside: Any) -> str:
    rows = [{**ORDER, "id": f"o-{n}"} for n in range(LISTED)]
    return doubt_of(wire.read_orders(CALL, json.dumps({"data": rows, **beside}).encode()))


@pytest.mark.parametrize("beside", MARKED, ids=str)
def test_a_mark_in_the_envelope_is_believed(beside: dict[str, Any]) -> None:
    assert "says that it goes on" in doubted(**beside)


@pytest.mark.parametrize("beside", WHOLE, ids=str)
def test_a_list_that_is_said_to_be_whole_is_not_doubted(beside: dict[str, Any]) -> None:
    assert doubted(**beside) == ""


@pytest.mark.parametrize(("name", "text"), MARKED_HEADERS)
def test_a_mark_in_a_header_is_believed(name: str, text: str) -> None:
    assert mark_in_headers({name.encode(): text}, LISTED) == name


@pytest.mark.parametrize(("name", "text"), WHOLE_HEADERS)
def test_other_headers_are_no_marks(name: str, text: str) -> None:
    assert mark_in_headers({name.encode(): text}, LISTED) == ""


ODD_ROWS: list[str] = [
    '{"id": "o-9", "status": "cancelled", "quote_id": "q-9", "user_id": "u-1", "from_amount": "5"}',
    '{"id": "o-9", "status": "pending", "quote_id": "q-9", "user_id": "u-1", "from_amount": null}',
    '{"id": "o-9", "status": "pending", "quote_id": "q-9", "user_id": "u-1", "from_amount": "-5"}',
    '{"id": "o-9", "status": "pending", "quote_id": "q-9", "user_id": "u-1"}',
    '{"id": "\\ud800", "status": "pending", "quote_id": "q-9", "user_id": "u-1", "from_amount": "5"}',
    '{"id": 9, "status": "pending", "quote_id": "q-9", "user_id": "u-1", "from_amount": "5"}',
    "null",
    "[]",
    '"o-9"',
]


@pytest.mark.parametrize("odd", ODD_ROWS)
@pytest.mark.parametrize("first", [True, False])
def test_a_row_that_cannot_be_read_hides_no_other_and_makes_the_list_doubtful(
    odd: str, *, first: bool
) -> None:
    good = json.dumps(ORDER)
    shapes = wire.order_shapes(
        CALL, f'{{"data": [{odd if first else good}, {good if first else odd}]}}'.encode()
    )
    orders, error = wire.readable(shapes, lambda shape: wire.order_from(CALL, shape))
    assert [order.id for order in orders] == ["o-1"]
    assert error is not None or "cannot be read" in doubt_of(shapes)


def test_users_and_quotes_are_read_row_by_row_too() -> None:
    user = {"id": "u-1", "name": "User One", "email": "user1@example.com"}
    users = wire.read_users("GET /users", json.dumps({"data": [{"id": "u-2", "name": "B"}, user]}).encode())
    assert [one.id for one in users] == ["u-1"]
    assert "cannot be read" in doubt_of(users)
