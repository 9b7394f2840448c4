"""Whether a request is served, and which set it means: the same for OFREP, its events, and sync."""

import hmac
from collections.abc import Mapping
from http import HTTPStatus

from msgspec import Struct

from tidegate.api.hosts import is_local
from tidegate.api.tokens import Denied, Token, Tokens
from tidegate.wire.names import is_name

SELECTOR = "flagSetId="
HALF_TICKET_S = 12 * 3_600
"""A stream of events is opened by its address alone, since browsers send no headers with it; so long an address is good."""


class Asking(Struct, frozen=True):
    """Who asks for what. ``token`` is its name, None where none is needed; ``sha256`` tells it from a later one of that name."""

    set_id: str
    token: str | None
    sha256: str = ""


class Admission:
    """``default``: the set of requests that name none."""

    def __init__(self, tokens: Tokens, default: str | None) -> None:
        self._tokens = tokens
        self._default = default

    def admit(self, headers: Mapping[str, str], selector: str = "", shown: str = "") -> Asking:
        """Return who asks for which set. Denied where that is not served: no token or none of ours (401), a token of other sets
        (403), no set (400). ``selector`` and ``shown`` stand in for headers that were not sent.
        """
        token = self._token(headers, shown)
        set_id = self._set(headers.get("flagd-selector") or selector)
        return _asking(set_id, token)

    def check_still(self, asking: Asking) -> None:
        """Denied where who was admitted would not be so now: the token was revoked or has ended, or one is needed since (401); it
        is not for the set any more (403).
        """
        if asking.token is None:
            if self._tokens.required:
                raise Denied(HTTPStatus.UNAUTHORIZED, "a token is needed by now")
            return
        token = self._tokens.named(asking.token)
        if token is None or token.sha256 != asking.sha256:
            raise Denied(HTTPStatus.UNAUTHORIZED, f"token {asking.token} was revoked or has ended")
        _asking(asking.set_id, token)

    def check_host(self, headers: Mapping[str, str]) -> None:
        """Denied (403) where no token is needed and a request over HTTP was made under a name that is none of this machine's. No
        page can speak gRPC, so there is no such check.
        """
        host = headers.get("host", "")
        if not self._tokens.required and not is_local(host):
            raise Denied(HTTPStatus.FORBIDDEN, f"{host[:150]!r} is not this machine; make a token: tidegate api token NAME")

    def ticket(self, asking: Asking, now_ms: int) -> str:
        """Return what opens the events of a set; empty where nothing is needed. It ends with the token, and lasts a day at most
        and half of one at least: it is the same for half a day, so that an answer that names it is.
        """
        if asking.token is None:
            return ""
        until_s = (now_ms // 1_000 // HALF_TICKET_S + 2) * HALF_TICKET_S
        return f"{asking.token}~{until_s}~{_mark(asking.sha256, asking.set_id, until_s)}"

    def admit_ticket(self, selector: str, ticket: str, now_ms: int) -> Asking:
        """Return who asks, by the ticket alone. Denied where it opens nothing, or not this set: of another one (401), or its
        token is not for it any more (403).
        """
        set_id = self._set(selector)
        if not self._tokens.required:
            return Asking(set_id, None)
        name, _, rest = ticket.partition("~")
        until, _, mark = rest.partition("~")
        good = until.isascii() and until.isdigit() and len(until) <= 12 and int(until) * 1_000 >= now_ms
        token = self._tokens.named(name) if good else None
        if token is None or not hmac.compare_digest(_mark(token.sha256, set_id, int(until)).encode(), mark.encode()):
            raise Denied(HTTPStatus.UNAUTHORIZED, "this address has ended: ask for all flags again, the answer has a new one")
        return _asking(set_id, token)

    def _token(self, headers: Mapping[str, str], shown: str) -> Token | None:
        scheme, _, text = headers.get("authorization", "").partition(" ")
        text = text.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "") or shown
        token = self._tokens.token_of(text) if text else None
        if token is None and self._tokens.required:
            raise Denied(HTTPStatus.UNAUTHORIZED, "show a token: Authorization: Bearer TOKEN, or X-API-Key: TOKEN")
        return token

    def _set(self, selector: str) -> str:
        set_id = selector.removeprefix(SELECTOR) or self._default
        if not set_id:
            raise Denied(
                HTTPStatus.BAD_REQUEST, "no flag set is named: send Flagd-Selector: SET, or give the server api.flag_set"
            )
        if not is_name(set_id):
            raise Denied(HTTPStatus.BAD_REQUEST, f"{set_id[:150]!r} is no flag set: Flagd-Selector: SET or flagSetId=SET")
        return set_id


def _mark(sha256: str, set_id: str, until_s: int) -> str:
    key = hmac.digest(bytes.fromhex(sha256), b"ticket", "sha256")
    return hmac.digest(key, f"{set_id} {until_s}".encode(), "sha256").hex()


def _asking(set_id: str, token: Token | None) -> Asking:
    if token is None:
        return Asking(set_id, None)
    if token.sets and set_id not in token.sets:
        raise Denied(HTTPStatus.FORBIDDEN, f"this token is not for set {set_id}")
    return Asking(set_id, token.name, token.sha256)


__all__ = ["Admission", "Asking"]
