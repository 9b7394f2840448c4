"""The console's files at ``/``: for everybody, since they hold no data. The page asks ``/api/v1`` with its user's token."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from litestar import HttpMethod, Request, Response
from litestar.handlers import HTTPRouteHandler

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


def _handler(path: str, file: File) -> HTTPRouteHandler:
    tag = f'"{file.sha256[:32]}"'
    headers = {**HEADERS, "ETag": tag, "Content-Type": file.media_type}

    async def handle(request: Request[Any, Any, Any]) -> Response[bytes]:
        known = {one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")}
        if known & {tag, "*"}:
            return Response(b"", status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        body = file.body if request.method == "GET" else b""
        headed = headers if body else {**headers, "Content-Length": str(len(file.body))}
        return Response(body, headers=headed)

    return HTTPRouteHandler(path, http_method=[HttpMethod.GET, HttpMethod.HEAD])(handle)


__all__ = ["HEADERS", "page_handlers"]
