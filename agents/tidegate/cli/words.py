"""What a person types in many commands: the service that it is about, and why. Refused here, before anything moves."""

from collections.abc import Callable
from typing import Any

import click

from tidegate.wire.groups import is_group
from tidegate.wire.names import is_name, service_of

REASON_LENGTH_MAX = 256
"""As the signed documents have it; a longer one would be no document, which nobody answers."""


class ServiceType(click.ParamType):
    """The name of a service, with or without the ``svc/`` that lists show. ``groups``: group/NAME may be named too."""

    name = "SERVICE"

    def __init__(self, *, groups: bool = False) -> None:
        self._groups = groups

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name."""
        text = str(value)
        if not text and param is not None and not param.required:
            return text
        name = service_of(text) or text
        if not is_name(name.removeprefix("group/") if self._groups and is_group(name) else name):
            self.fail(f"{text[:200]!r} is no name of a service{', nor group/NAME' if self._groups else ''}", param, ctx)
        return name


class ReasonType(click.ParamType):
    """Why, in a sentence."""

    name = "TEXT"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return it."""
        text = str(value)
        if param is not None and param.required and not text.strip():
            self.fail("say why; it stands in the decision", param, ctx)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.fail("is not UTF-8", param, ctx)
        if len(text) > REASON_LENGTH_MAX:
            self.fail(f"{len(text)} characters; at most {REASON_LENGTH_MAX}", param, ctx)
        return text


def reason_option(where: str = "in the decision", **how: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option --reason; ``how`` is click's: ``required``, ``default``."""
    return click.option("--reason", type=ReasonType(), help=f"Why; stands {where}.", **how)
