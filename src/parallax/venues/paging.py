"""Whether a list is all there is: what exchanges say when it is one page of several, in body and headers.

Absence from a page proves nothing (rule 12). So every name that is in use for "there is more" is taken at its word, in
any case and spelling; a list without any of them is not thereby whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

import msgspec


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MORE: Final = _words("""
    next nextpage nextpageurl nextpageuri nextpagetoken nextpagenumber nextcursor nexturl nexturi nextlink nexthref
    nexttoken nextoffset nextkey nextid nextpath hasmore hasnext hasnextpage hasmorepages hasmoreitems hasmoreresults
    hasmoredata more moreresults moreitems moreavailable moredata morepages ismore istruncated truncated incomplete
    partial ispartial incompleteresults continuation continuationtoken continuetoken cursor aftercursor
    lastevaluatedkey scrollid remaining remainingitems remainingitemcount pagetoken odatanextlink
""")
"""With any of these, there is more unless the value is empty, false or nothing."""

LAST: Final = _words("""
    last islast lastpage islastpage complete iscomplete final isfinal exhausted done end isend eof
""")
"""With any of these, there is more if the value is false."""

TOTAL: Final = _words("""
    total totalcount totalentries totalitems totalrows totalrecords totalresults totalelements totalsize totalhits
    totalorders totalnumber totalresultcount count itemcount itemscount rowcount recordcount resultcount resultscount
    recordstotal available numfound numberofitems numberofresults numberofelements found hits odatacount
""")
"""How many there are: there is more if that is more than are listed."""

PAGES: Final = _words("""
    totalpages pagecount pagescount pages pagestotal numpages numberofpages lastpage maxpage
""")
"""How many pages there are: there is more if that is more than one."""

PAGE: Final = _words("page currentpage pagenumber pageno pagenum pageindex")
"""Which page this is: beyond the first, there is more before it."""

OFFSET: Final = _words("offset skip skipped startindex startat")
"""How many were left out before it."""

SIZE: Final = _words("limit perpage pagesize pagelimit itemsperpage maxresults maxitems take top pagelength")
"""How many a page holds: a full one may not be the last."""

HEADERS: Final = frozenset(
    name.encode()
    for name in _words("""
    link content-range x-total x-total-count x-total-pages x-totalcount x-total-items x-total-results x-count x-page
    x-pages x-page-count x-current-page x-per-page x-page-size x-limit x-offset x-next x-next-page x-next-cursor
    x-next-token x-has-more x-hasmore x-has-next x-more x-cursor x-pagination pagination x-paging total-count total
    total-pages next-page has-more next-cursor per-page page-size x-continuation x-continuation-token
    x-ms-continuation x-truncated x-last-page x-pagination-total x-pagination-total-count x-pagination-page
    x-pagination-pages x-pagination-page-count x-pagination-limit x-pagination-per-page x-pagination-offset
    x-pagination-next x-pagination-next-page x-pagination-has-more x-pagination-total-pages
    x-pagination-current-page pagination-count pagination-limit pagination-page x-wp-total x-wp-totalpages
""")
)
"""Headers that are looked at, in small letters."""

DEPTH: Final = 3
"""How deep in what stands beside the list a mark is looked for: `meta.page.links.next`."""

MAX_MARKS: Final = 1_000
"""Entries beside the list that are looked at: a longer envelope is no list of this exchange."""

_NOTHING: Final = frozenset(("", "0", "false", "no", "none", "null", "nil"))
_LINK_NEXT: Final = re.compile(r";\s*rel\s*=\s*(?:\"[^\"]*\bnext\b|'[^']*\bnext\b|next\b)", re.IGNORECASE)
_RANGE: Final = re.compile(r"^\s*(?:[\w-]+\s+)?(?:(\d{1,18})\s*-\s*(\d{1,18})|\*)\s*/\s*(\d{1,18}|\*)\s*$")
_PREFIXES: Final = ("xpagination", "pagination", "xwp", "xms", "x")
_ANYTHING: Final = msgspec.json.Decoder(float_hook=str)


def mark_in_headers(headers: Mapping[bytes, str], listed: int) -> str:
    """The header that says that there is more than the `listed` rows, or nothing."""
    for name, text in headers.items():
        if name in HEADERS and _header_says_more(name, text, listed):
            return name.decode()
    return ""


def mark_beside(beside: Mapping[str, Any], listed: int) -> str:
    """The name in the envelope that says so, or nothing. `beside` is what stands beside the list, decoded."""
    return next((name for name, value in _flat(beside) if says_more(name, value, listed)), "")


def decoded(raw: bytes) -> Any:
    """What stands beside a list; None for what cannot be read."""
    try:
        return _ANYTHING.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def says_more(name: str, value: object, listed: int) -> bool:
    """Whether a name with this value says that there is more than the `listed` rows."""
    key = re.sub(r"[^a-z0-9]", "", name.lower())
    number = _number(value)
    if key in LAST and (
        value is False or (isinstance(value, str) and value.strip().lower() in ("false", "no"))
    ):
        return True
    if key == "rel":
        return isinstance(value, str) and "next" in value.lower().split()
    if key in MORE:
        return _is_something(value)
    if number is None:
        return False
    return (
        (key in TOTAL and number > listed)
        or (key in PAGES and number > 1)
        or (key in PAGE and number > 1)
        or (key in OFFSET and number > 0)
        or (key in SIZE and 0 < number <= listed)
    )


def _header_says_more(name: bytes, text: str, listed: int) -> bool:
    if name == b"link":
        return _LINK_NEXT.search(text) is not None
    if name == b"content-range":
        found = _RANGE.match(text)
        if found is None:
            return True  # a range of something, in words that are not known here
        first, last, total = found.groups()
        return total == "*" or int(total) > listed or int(first or 0) > 0 or int(last or 0) + 1 < int(total)
    if text.lstrip()[:1] in ("{", "["):
        value = decoded(text.encode("latin-1", "replace"))
        return isinstance(value, dict | list) and bool(mark_beside({name.decode(): value}, listed))
    key = re.sub(r"[^a-z0-9]", "", name.decode())
    short = next((key.removeprefix(prefix) for prefix in _PREFIXES if key.startswith(prefix)), key)
    return any(says_more(one, text, listed) for one in {key, short})


def _flat(value: object) -> Iterator[tuple[str, object]]:
    """The names in `value` and below, with what stands under them."""
    level: list[object] = [value]
    seen = 0
    for _ in range(DEPTH + 1):
        below: list[object] = []
        for node in level:
            entries = cast("dict[str, object]", node).items() if isinstance(node, dict) else ()
            for name, found in entries:
                seen += 1
                if seen > MAX_MARKS:
                    yield "more", True
                    return
                yield str(name), found
                below.append(found)
            if isinstance(node, list):
                below += cast("list[object]", node)[:MAX_MARKS]
        level = below


def _is_something(value: object) -> bool:
    if isinstance(value, str):
        return value.strip().lower() not in _NOTHING
    if isinstance(value, dict):
        return any(_is_something(found) for found in cast("dict[str, object]", value).values())
    return bool(value)


def _number(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,18}(?:\.0{1,18})?\s*", value):
        return int(value.partition(".")[0])
    return None
