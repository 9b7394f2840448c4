"""The operator's page: static files that a browser runs as they stand. There is no build step.

Here live the page's modules, its style and the three libraries it uses, pinned by hash (``static/vendor/vendor.lock``). The page
holds no data and decides nothing: it reads the control API and asks it for what a person wants. ``tidegate.api`` serves it.
"""

import hashlib
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

from msgspec import Struct

MEDIA_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "mjs": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
PLAIN = "text/plain; charset=utf-8"


class File(Struct, frozen=True):
    """One file as it is served. ``sha256`` is a strong validator: equal hash, equal bytes."""

    body: bytes
    media_type: str
    sha256: str


@cache
def files() -> dict[str, File]:
    """Return every file of the page by its path, as in ``app/main.mjs``; ``index.html`` is the page itself."""
    return {path: _file(path, found.read_bytes()) for path, found in _walk(resources.files(__package__) / "static")}


def _walk(folder: Traversable, under: str = "") -> list[tuple[str, Traversable]]:
    found: list[tuple[str, Traversable]] = []
    for one in sorted(folder.iterdir(), key=lambda one: one.name):
        path = f"{under}{one.name}"
        found += _walk(one, f"{path}/") if one.is_dir() else [(path, one)]
    return found


def _file(path: str, body: bytes) -> File:
    return File(body, MEDIA_TYPES.get(path.rpartition(".")[2], PLAIN), hashlib.sha256(body).hexdigest())


__all__ = ["File", "files"]
