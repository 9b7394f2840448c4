"""The console's files at ``/``: for everybody, since they hold no data. The page asks ``/api/v1`` with its user's token."""

import gzip
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from litestar import HttpMethod, Request, Response
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from tidegate.console import File

INDEX = "index.html"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cache-Control": "no-cache",
}
"""A browser asks each time whether what it holds is still good: so a page never runs with modules of another release."""


def page_handlers(files: Mapping[str, File]) -> list[HTTPRouteHandler]:
    """Return what Litestar is to serve: GET and HEAD of each file by its path, and of the page itself at ``/``."""
    by_path = {f"/{path}": file for path, file in files.items()}
    if INDEX in files:
        by_path["/"] = files[INDEX]
    return [_handler(path, file) for path, file in by_path.items()]


class Form(Struct, frozen=True):
    """A file as it travels, and the headers of it. A strong tag names these very bytes, so each form has its own."""

    body: bytes
    tag: str
    headers: dict[str, str]


def _handler(path: str, file: File) -> HTTPRouteHandler:
    plain, packed = _form(file, file.body), _form(file, gzip.compress(file.body, mtime=0), "gzip")

    async def handle(request: Request[Any, Any, Any]) -> Response[bytes]:
        form = packed if _takes_gzip(request.headers.get("accept-encoding", "")) else plain
        known = {one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")}
        if known & {plain.tag, packed.tag, "*"}:
            return Response(b"", status_code=HTTPStatus.NOT_MODIFIED, headers=form.headers)
        if request.method == "GET":
            return Response(form.body, headers=form.headers)
        return Response(b"", headers={**form.headers, "Content-Length": str(len(form.body))})

    return HTTPRouteHandler(path, http_method=[HttpMethod.GET, HttpMethod.HEAD])(handle)


def _form(file: File, body: bytes, encoding: str = "") -> Form:
    tag = f'"{file.sha256[:32]}{"-" * bool(encoding)}{encoding}"'
    told = {"Content-Encoding": encoding} if encoding else {}
    return Form(body, tag, {**HEADERS, **told, "ETag": tag, "Content-Type": file.media_type, "Vary": "Accept-Encoding"})


def _takes_gzip(accepted: str) -> bool:
    """Return whether a client names gzip, and not as what it does not want.

    >>> _takes_gzip("gzip, deflate, br"), _takes_gzip("br, gzip;q=0"), _takes_gzip("")
    (True, False, False)
    """
    for word in accepted.lower().replace(" ", "").split(","):
        name, _, weight = word.partition(";q=")
        if name == "gzip":
            return not weight or weight.strip("0.") != ""
    return False


__all__ = ["HEADERS", "page_handlers"]
