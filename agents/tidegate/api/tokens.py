"""Who may ask: tokens, of which only digests are kept, and what set a request means.

A token is 256 random bits, so one round of SHA-256 keeps it: there is nothing to guess. The file is read again when it changes,
so a revoked token ends within a second, without restart.
"""

import hashlib
import logging
import secrets
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import msgspec
import structlog
import yaml
from msgspec import Meta, Struct

from tidegate.api.roles import Role, ScopeText, scope_fault
from tidegate.ports import Clock, SystemDisk
from tidegate.runtime.faults import faults_of
from tidegate.runtime.problem import Problem
from tidegate.runtime.yaml_text import NotYaml, read_yaml
from tidegate.wire.codec import told_faults
from tidegate.wire.names import Name, Sha256, is_name

MARK = "tgapi_"
LOOK_EVERY_S = 1.0
TOKENS_MAX = 1_000
SCOPES_MAX = 100
FILE = "api-tokens.yaml"
NEVER = (-1, -1)
"""The stamp of no file: it is read at the next look."""

log = structlog.wrap_logger(logging.getLogger("tidegate.api"))


class Token(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One token. ``sets``: only flags of these may be asked for; none: all. ``role``, ``scopes``: what it opens of the control
    API; without a role nothing.
    """

    name: Name
    sha256: Sha256
    sets: tuple[Name, ...] = ()
    role: Role | None = None
    scopes: Annotated[tuple[ScopeText, ...], Meta(max_length=SCOPES_MAX)] = ()
    expires_ms: Annotated[int, Meta(ge=0)] = 0
    """From then on it opens nothing; 0: it does not end by itself."""

    def good_at(self, now_ms: int) -> bool:
        """Return whether it opens anything at a time."""
        return not self.expires_ms or now_ms < self.expires_ms


class Grant(Struct, frozen=True, kw_only=True):
    """What a new token is to open of the control API."""

    role: Role | None = None
    scopes: tuple[str, ...] = ()
    expires_ms: int = 0


NOTHING = Grant()


class _File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    tokens: list[Token] = []


class Denied(Exception):
    """A request that is not served, with the HTTP status that says so."""

    def __init__(self, status: HTTPStatus, details: str) -> None:
        super().__init__(details)
        self.status = status
        self.details = details


def read_tokens(path: Path) -> list[Token]:
    """Return the tokens of a file, none where there is no file. Problem, with the path of each fault, where it is none."""
    try:
        values = read_yaml(path) or {}
    except FileNotFoundError:
        return []
    except (OSError, NotYaml) as error:
        told = error.strerror if isinstance(error, OSError) else error
        raise Problem(f"{path}: {told}", "mend the file, or remove it and make new tokens", code=2) from error
    faults = faults_of(values, _File)
    if faults:
        raise Problem(f"{path}: {told_faults(faults)}", "mend the file, or remove it and make new tokens", code=2)
    tokens = msgspec.convert(values, _File).tokens
    wrong = [(f"tokens[{at}].scopes", scope_fault(one)) for at, token in enumerate(tokens) for one in token.scopes]
    if any(what for _, what in wrong):
        told = told_faults((at, what) for at, what in wrong if what)
        raise Problem(f"{path}: {told}", "mend the file, or remove it and make new tokens", code=2)
    return tokens


def write_tokens(path: Path, tokens: list[Token]) -> None:
    """Replace the file whole; the owner of its folder, as whom the API runs, alone can read it."""
    text = yaml.safe_dump({"tokens": msgspec.to_builtins(tokens)}, sort_keys=False).encode()
    SystemDisk(path.parent, private=True).write(path.name, text)


def make_token(path: Path, name: str, sets: tuple[str, ...] = (), grant: Grant = NOTHING) -> str:
    """Add a token to the file and return its text, which is kept nowhere. Problem where the name is taken or no name, or a scope
    is none.
    """
    for one in (name, *sets):
        if not is_name(one):
            raise Problem(f"{one!r} is no name", "use letters, digits, . _ - (at most 128)", code=2)
    for scope in grant.scopes:
        wrong = scope_fault(scope) or _no_scope(scope)
        if wrong:
            raise Problem(f"{scope!r}: {wrong}", "write it as in shop-*, shop:pause,abort or flag/web/*:kill", code=2)
    if grant.scopes and grant.role is None:
        raise Problem("a scope narrows a role, and there is none", "give --role too", code=2)
    tokens = read_tokens(path)
    if any(one.name == name for one in tokens):
        raise Problem(f"{path} has a token {name} already", f"use another name, or run: tidegate api revoke {name}")
    if len(tokens) >= TOKENS_MAX:
        raise Problem(f"{path} has {TOKENS_MAX} tokens already", "revoke some: tidegate api revoke NAME")
    text = MARK + secrets.token_urlsafe(32)
    write_tokens(path, [*tokens, Token(name=name, sha256=_digest(text), sets=sets, **msgspec.structs.asdict(grant))])
    return text


def revoke_token(path: Path, name: str) -> None:
    """Take a token out of the file. Problem where there is none of the name."""
    tokens = read_tokens(path)
    left = [one for one in tokens if one.name != name]
    if len(left) == len(tokens):
        known = ", ".join(one.name for one in tokens) or "none"
        raise Problem(f"{path} has no token {name}; it has: {known}", "see: tidegate api tokens")
    write_tokens(path, left)


class Tokens:
    """The tokens of a file, as they were at most ``LOOK_EVERY_S`` ago. ``required``: whether a request must show one.

    Once there was a token, one must be shown, also when the last was revoked: what was closed does not open by itself. While the
    file cannot be read none is good, for what was revoked cannot be seen; of one that is wrong what it said before stays.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._looked_s = clock.monotonic_s()
        self._changed = self._stamp()
        self._take(read_tokens(path))
        self._required = bool(self._known)

    @property
    def required(self) -> bool:
        """Whether a request must show a token: asked for each one, for the first token may have been made since the last."""
        self._look()
        return self._required

    def token_of(self, text: str) -> Token | None:
        """Return the token that a text is, None where it is none."""
        self._look()
        found = self._known.get(_digest(text))
        return found if found is not None and found.good_at(self._clock.now_ms()) else None

    def named(self, name: str) -> Token | None:
        """Return the token of a name as it is now, None where there is none or it has ended."""
        self._look()
        found = self._names.get(name)
        return found if found is not None and found.good_at(self._clock.now_ms()) else None

    def _look(self) -> None:
        # A wall clock that is set back would keep what was revoked good until it has caught up.
        now_s = self._clock.monotonic_s()
        if now_s - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = now_s
        changed = self._stamp()
        if changed == self._changed:
            return
        self._changed = changed
        try:
            self._take(read_tokens(self._path))
        except Problem as problem:
            if isinstance(problem.__cause__, OSError):
                log.error("tokens cannot be read; none is good until they can be", problem=str(problem))  # noqa: TRY400
                self._take([])
                self._required, self._changed = True, NEVER
            else:
                log.warning("tokens not read again; those from before stay", problem=str(problem))
            return
        self._required = self._required or bool(self._known)

    def _take(self, tokens: list[Token]) -> None:
        self._known = {one.sha256: one for one in tokens}
        self._names = {one.name: one for one in tokens}

    def _stamp(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        # Not the time of its text: a file that may be read again has kept that.
        return found.st_ctime_ns, found.st_ino


def _no_scope(text: str) -> str:
    try:
        msgspec.convert(text, ScopeText)
    except msgspec.ValidationError:
        return "no scope"
    return ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


__all__ = [
    "FILE",
    "LOOK_EVERY_S",
    "Denied",
    "Grant",
    "Token",
    "Tokens",
    "make_token",
    "read_tokens",
    "revoke_token",
    "write_tokens",
]
