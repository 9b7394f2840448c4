"""``tidegate health``: whether a process is alive and ready, as an exit code. Images and people ask it."""

import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

import click

from tidegate.runtime.problem import Problem
from tidegate.runtime.serve import ANNOUNCE

WITHIN_S = 5.0


@click.command()
@click.argument("address", required=False)
def health(address: str | None) -> None:
    """Ask the process that serves /healthz and /readyz at ADDRESS whether it is alive and ready; exit code 1 where it is not.

    Without ADDRESS it is the process that left its own in the file that TIDEGATE_ANNOUNCE names, as in a container.
    """
    url = _url(address) if address else _announced()
    for path in ("healthz", "readyz"):
        said = _ask(f"{url}/{path}")
    click.echo(said)


def _url(address: str) -> str:
    url = (address if "://" in address else f"http://{address}").rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise Problem(f"{address} is no address", "name host:port, or an http address", code=2)
    return url


def _announced() -> str:
    path = os.environ.get(ANNOUNCE)
    if not path:
        raise Problem(
            f"no ADDRESS was given and {ANNOUNCE} names no file", "name host:port; the log of a process tells it", code=2
        )
    try:
        return Path(path).read_text().splitlines()[0]
    except (OSError, IndexError) as error:
        raise Problem(f"{path} has no address: the process does not serve yet", "look at its log") from error


def _ask(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=WITHIN_S) as answer:  # noqa: S310 - the scheme was looked at
            return str(answer.read(500).decode(errors="replace").strip())
    except urllib.error.HTTPError as error:
        raise Problem(f"{url}: {error.read(500).decode(errors='replace').strip()}", "look at its log") from error
    except (http.client.InvalidURL, ValueError) as error:
        raise Problem(f"{url} is no address: {error}", "name host:port, or an http address", code=2) from error
    except OSError as error:
        raise Problem(
            f"{url}: {getattr(error, 'reason', error)}", "is it running, and is this its address? its log tells"
        ) from error
