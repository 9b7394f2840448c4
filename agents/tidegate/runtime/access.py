"""How a client of the broker knows the broker, and how it says who it is: TLS and SASL.

Nothing secret stands in these values: they say where it is. It is read anew for each client that is made, so that a password or
certificate that was replaced counts from the next connection on. The SDK uses it too; it needs nothing but msgspec.
"""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn, Self, get_args

from msgspec import Struct
from msgspec.structs import replace

from tidegate.runtime.problem import Problem
from tidegate.runtime.secrets import read_secret

ROLE = "{role}"
"""In a user or a path: becomes the role of the process, so that one section serves every role of a home."""

Mechanism = Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"]


class Tls(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Files, in PEM. ``ca``: the authorities that count; none: those of the system. ``certificate`` and ``key``: who this client
    is, where the broker asks for it; without ``key`` the certificate's file holds it too.
    """

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None


class Sasl(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user of the broker. ``password`` is ``file:PATH`` or ``env:NAME``, never the password itself."""

    user: str
    password: str
    mechanism: Mechanism = "SCRAM-SHA-512"


class Access(Struct, frozen=True):
    """What a client needs beside an address. Nothing: plain text, nobody asks who it is."""

    tls: Tls | None = None
    sasl: Sasl | None = None

    @property
    def principal(self) -> str:
        """Who the broker takes this client for, as a person writes it."""
        if self.sasl is not None:
            return f"User:{self.sasl.user}"
        return "the user of its certificate" if self.tls is not None and self.tls.certificate else "User:ANONYMOUS"

    def of(self, role: str, folder: Path) -> Self:
        """Return this for one role, with paths that begin at ``folder`` made whole."""

        def whole(path: str | None) -> str | None:
            return None if path is None else str(folder / path.replace(ROLE, role))

        tls, sasl = self.tls, self.sasl
        if tls is not None:
            tls = Tls(ca=whole(tls.ca), certificate=whole(tls.certificate), key=whole(tls.key))
        if sasl is not None:
            kind, _, name = sasl.password.partition(":")
            named = whole(name) if kind == "file" else name.replace(ROLE, role)
            sasl = replace(sasl, user=sasl.user.replace(ROLE, role), password=f"{kind}:{named}")
        return type(self)(tls, sasl)

    def arguments(self) -> dict[str, Any]:
        """Return what every client of aiokafka is told of this. Problem where a file is missing, open to others, or no PEM."""
        if self.sasl is None and self.tls is None:
            return {}
        if self.tls is None:
            raise Problem("kafka.sasl without kafka.tls: a password would travel in the clear", "add kafka.tls", code=2)
        arguments: dict[str, Any] = {"security_protocol": "SSL", "ssl_context": _context(self.tls)}
        if self.sasl is not None:
            arguments |= {
                "security_protocol": "SASL_SSL",
                "sasl_mechanism": self.sasl.mechanism,
                "sasl_plain_username": self.sasl.user,
                "sasl_plain_password": read_secret(self.sasl.password, Path()),
            }
        return arguments

    def environment(self) -> dict[str, str]:
        """Return this as the variables that ``access_in`` reads."""
        told = {"TIDEGATE_TLS": "on" if self.tls is not None else None}
        for prefix, part in (("TLS", self.tls), ("SASL", self.sasl)):
            for field in part.__struct_fields__ if part is not None else ():
                told[f"TIDEGATE_{prefix}_{field.upper()}"] = getattr(part, field)
        return {name: value for name, value in told.items() if value is not None}


PLAIN_TEXT = Access()


def access_in(environment: Mapping[str, str]) -> Access:
    """Return what the ``TIDEGATE_TLS_*`` and ``TIDEGATE_SASL_*`` variables say. Raises ValueError where they are no access.

    >>> access_in({"TIDEGATE_TLS": "on", "TIDEGATE_SASL_USER": "shop", "TIDEGATE_SASL_PASSWORD": "env:SECRET"}).principal
    'User:shop'
    """

    def said(part: str, *fields: str) -> dict[str, Any]:
        names = {field: f"TIDEGATE_{part}_{field.upper()}" for field in fields}
        return {field: environment[name] for field, name in names.items() if environment.get(name)}

    tls, sasl = said("TLS", *Tls.__struct_fields__), said("SASL", *Sasl.__struct_fields__)
    for field in ("user", "password"):
        if sasl and field not in sasl:
            raise ValueError(f"TIDEGATE_SASL_{field.upper()} is missing beside the other TIDEGATE_SASL_ variables")
    if sasl.get("mechanism", "PLAIN") not in get_args(Mechanism):
        raise ValueError(f"TIDEGATE_SASL_MECHANISM is none of {', '.join(get_args(Mechanism))}")
    return Access(Tls(**tls) if tls or environment.get("TIDEGATE_TLS") else None, Sasl(**sasl) if sasl else None)


def _context(tls: Tls) -> ssl.SSLContext:
    """Return a context that trusts these authorities alone, checks the host's name, and shows the client's certificate."""
    try:
        context = ssl.create_default_context(cafile=tls.ca)
    except OSError as error:  # that of ssl is one too
        raise Problem(
            f"{tls.ca}: no authority can be read there: {_said(error)}", "put the broker's CA there, in PEM", code=2
        ) from error
    if tls.certificate is not None:
        _show(context, tls.certificate, tls.key or tls.certificate)
    return context


def _show(context: ssl.SSLContext, certificate: str, key: str) -> None:
    def refuse() -> NoReturn:
        raise Problem(f"{key} is under a passphrase", "store it without one, readable by its owner alone", code=2)

    read_secret(f"file:{key}", Path())  # its mode
    try:
        context.load_cert_chain(certificate, key, refuse)
    except OSError as error:
        raise Problem(
            f"{certificate} and {key} are no certificate and its key: {_said(error)}", "put both there, in PEM", code=2
        ) from error


def _said(error: OSError) -> str:
    return error.strerror or str(error)
