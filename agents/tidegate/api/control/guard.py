"""Who asks, and whether that is served: the one place where the control API admits anybody."""

from collections.abc import Callable, Mapping
from http import HTTPStatus

from tidegate.api.control.calls import Route, Visitor, named
from tidegate.api.control.problems import Declined
from tidegate.api.control.refusals import Attempt, Refusals
from tidegate.api.hosts import is_local
from tidegate.api.roles import Right, Role
from tidegate.api.tokens import Token, Tokens

WRITES_BURST = 200
WRITES_PER_S = 20.0


class Guard:
    """Denies what is not allowed, and says so to ``refusals``."""

    def __init__(self, tokens: Tokens, monotonic_s: Callable[[], float], refusals: Refusals) -> None:
        self._tokens = tokens
        self._monotonic_s = monotonic_s
        self._refusals = refusals
        self._spent: dict[str, tuple[float, float]] = {}
        """By token: writes that are still allowed, and when that was counted."""

    def admit(self, attempt: Attempt, headers: Mapping[str, str]) -> Visitor:
        """Return who asks. Declined where it is not served: 401, 403, 404 (a subject that its scopes leave out), 429."""
        subject = named(attempt.path)
        try:
            visitor = self._visitor(headers)
        except Declined as declined:
            self._refusals.add(attempt, "", declined)
            raise
        try:
            self._check(visitor, attempt.route, subject)
        except Declined as declined:
            self._refusals.add(attempt, visitor.name, declined)
            raise
        return visitor

    def still(self, visitor: Visitor) -> bool:
        """Return whether who was admitted would be so now, to the same: not where the token ended or was narrowed."""
        if not visitor.name:
            return not self._tokens.required
        found = self._tokens.named(visitor.name)
        return found is not None and _visitor_of(found) == visitor

    def _visitor(self, headers: Mapping[str, str]) -> Visitor:
        scheme, _, text = headers.get("authorization", "").partition(" ")
        text = text.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        token = self._tokens.token_of(text) if text else None
        if token is not None:
            found = _visitor_of(token)
            if found is None:
                raise Declined(
                    HTTPStatus.FORBIDDEN,
                    f"token {token.name} has no role: it is for flags",
                    "make one: tidegate api token --role",
                )
            return found
        if self._tokens.required or text:
            raise Declined(
                HTTPStatus.UNAUTHORIZED,
                "show a token that is good",
                "Authorization: Bearer TOKEN; make one: tidegate api token NAME --role viewer",
                headers={"WWW-Authenticate": "Bearer"},
            )
        host = headers.get("host", "")
        if not is_local(host):
            raise Declined(HTTPStatus.FORBIDDEN, f"{host[:150]!r} is not this machine", "make a token: tidegate api token")
        return Visitor("", Role.VIEWER)

    def _check(self, visitor: Visitor, route: Route, subject: str) -> None:
        if not visitor.may(route.right, subject):
            # A route without a subject in its path looks at the scopes itself, when it knows what is meant.
            later = not subject and visitor.scopes and Visitor(visitor.name, visitor.role).may(route.right)
            if not later:
                raise _denied(visitor, route.right, subject)
        if route.decides:
            self._meter(visitor.name)

    def _meter(self, name: str) -> None:
        now_s = self._monotonic_s()
        left, counted_s = self._spent.get(name, (float(WRITES_BURST), now_s))
        left = min(WRITES_BURST, left + (now_s - counted_s) * WRITES_PER_S)
        if left < 1:
            raise Declined(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"this token asks for more than {WRITES_PER_S:.0f} things a second",
                "ask more slowly",
                headers={"Retry-After": "1"},
            )
        self._spent[name] = left - 1, now_s


def _visitor_of(token: Token) -> Visitor | None:
    return None if token.role is None else Visitor(token.name, token.role, token.scopes, token.expires_ms)


def _denied(visitor: Visitor, right: Right, subject: str) -> Declined:
    if not visitor.name:
        return Declined(
            HTTPStatus.UNAUTHORIZED,
            "without a token this is read only",
            "make one: tidegate api token NAME --role operator",
            headers={"WWW-Authenticate": "Bearer"},
        )
    reads = visitor.may(Right.READ)  # who reads nothing learns nothing by it
    if subject and reads and not visitor.may(Right.READ, subject):
        return Declined(HTTPStatus.NOT_FOUND, f"there is no {subject}", "or this token is not for it")
    of = f" of {subject}" if subject else ""
    return Declined(HTTPStatus.FORBIDDEN, f"token {visitor.name} ({visitor.role}) may not {right}{of}", "use one that may")


__all__ = ["Guard"]
