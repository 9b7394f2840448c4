"""One stream for our own events and for the libraries'."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from tidegate.runtime.logs import configure
from tidegate.runtime.settings import LogSettings


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    yield
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)
    structlog.reset_defaults()


def lines(settings: LogSettings) -> tuple[io.StringIO, list[dict[str, object]]]:
    stream = io.StringIO()
    configure(settings, stream, role="judge")
    structlog.get_logger("ours").info("pane closed", service="shop")
    logging.getLogger("theirs").warning("look %s", "here")
    logging.getLogger("aiokafka.conn").info("chatter")
    logging.getLogger("aiokafka").error("Unable connect to node with id %s: %s", 1, "one try of many")
    logging.getLogger("tidegate.worker.app").info("[^App]: Starting...")
    return stream, [json.loads(line) for line in stream.getvalue().splitlines()] if settings.format != "console" else []


def test_a_machine_gets_json_of_both_with_who_speaks() -> None:
    _, found = lines(LogSettings())
    assert [(one["event"], one["role"], one["level"], one["logger"]) for one in found] == [
        ("pane closed", "judge", "info", "ours"),
        ("look here", "judge", "warning", "theirs"),
    ]
    assert found[0]["service"] == "shop"
    assert str(found[0]["timestamp"]).endswith("Z")


def test_a_person_gets_lines() -> None:
    stream, _ = lines(LogSettings(format="console"))
    assert "pane closed" in stream.getvalue()
    assert "chatter" not in stream.getvalue()


def test_an_exception_is_told_whole() -> None:
    stream = io.StringIO()
    configure(LogSettings(), stream)
    try:
        int("torn")
    except ValueError:
        structlog.get_logger("ours").exception("failed")
    assert "ValueError: invalid literal" in json.loads(stream.getvalue())["exception"]
