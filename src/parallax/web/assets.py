"""Static files: held in memory, served under an address that changes with their content, cached for ever.

All style sheets are joined into one at start, in the order given here, so that a page asks for one. There is no build
step: what is in `static/` is what is sent.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

STYLES: Final = (
    "tokens",
    "base",
    "layout",
    "controls",
    "badges",
    "tables",
    "dialog",
    "desk",
    "ticket",
    "order",
    "operations",
)
"""The style sheets in `static/css`, in the order of the cascade."""

MODULES: Final = (
    "main",
    "clock",
    "connection",
    "desk",
    "dialog",
    "elements",
    "filters",
    "keys",
    "live",
    "money",
    "notices",
    "swaps",
    "ticket",
)
"""The modules in `static/js`, so that a browser fetches them together and not one after the other."""

TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "woff2": "font/woff2",
    "txt": "text/plain; charset=utf-8",
}

FOREVER: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file: its type, its bytes, and the same compressed where that is smaller."""

    content_type: str
    body: bytes
    zipped: bytes | None


class Assets:
    """Every static file of the package. `version` is a hash over all of them."""

    def __init__(self) -> None:
        """Read the package's files: `assets()` gives those that have been read."""
        root = files("parallax.web") / "static"
        found = dict(_walk(root, ""))
        found["app.css"] = b"\n".join(found[f"css/{name}.css"] for name in STYLES)
        whole = hashlib.sha256()
        for path in sorted(found):
            whole.update(path.encode() + b"\0" + found[path])
        self.version = whole.hexdigest()[:12]
        self._assets = {path: _asset(path, body) for path, body in found.items()}

    def url(self, path: str) -> str:
        """The address of a file. Raises `KeyError` when there is none."""
        _ = self._assets[path]
        return f"/static/{self.version}/{path}"

    def serve(self, version: str, path: str, request: Request) -> Response:
        """Answer a request for a file."""
        asset = self._assets.get(path)
        if asset is None:
            return Response("There is no such file.", 404, media_type="text/plain")
        # A page from before an upgrade may still ask for its old files: it gets the new ones, and keeps neither.
        headers = {
            "Cache-Control": FOREVER if version == self.version else "no-store",
            "Vary": "Accept-Encoding",
        }
        if asset.zipped is not None and "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return Response(asset.zipped, media_type=asset.content_type, headers=headers)
        return Response(asset.body, media_type=asset.content_type, headers=headers)


@cache
def assets() -> Assets:
    """The package's static files, read once a process."""
    return Assets()


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _walk(entry, f"{prefix}{entry.name}/")
        elif entry.name.rpartition(".")[2] in TYPES:
            found.append((prefix + entry.name, entry.read_bytes()))
    return found


def _asset(path: str, body: bytes) -> Asset:
    kind = path.rpartition(".")[2]
    zipped = None if kind == "woff2" else gzip.compress(body, 9, mtime=0)
    return Asset(TYPES[kind], body, zipped if zipped and len(zipped) < len(body) else None)
