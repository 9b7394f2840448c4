"""Logs: one stream for our own events and for the libraries', JSON for machines or lines for people."""

import logging
from typing import TYPE_CHECKING, TextIO

import structlog

from tidegate.runtime.settings import LogSettings

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

QUIET = {
    "aiokafka": logging.ERROR,
    "aiokafka.consumer.fetcher": logging.CRITICAL,
    "faust": logging.WARNING,
    "mode": logging.WARNING,
    "asyncio": logging.WARNING,
}
"""Libraries that speak of every retry; ours says once what matters (a broker that is away is one line)."""

RETRIES = ("Unable connect to", "Unable to update metadata", "Group Coordinator Request failed")
"""So begin the lines in which aiokafka tells of one try of many, as errors."""

LIFECYCLE = "[^"
"""So begin the lines in which the services inside Faust say that they start and stop; they log under their module's name."""


def configure(settings: LogSettings, stream: TextIO, **context: str) -> None:
    """Send structlog's and the standard library's logs to one stream. ``context`` (role, node) stands in every line."""

    def who(_logger: "WrappedLogger", _method: str, event: "EventDict") -> "EventDict":
        return {**context, **event}

    shared: list[Processor] = [
        who,
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    people = settings.format == "console" or (settings.format == "auto" and stream.isatty())
    last: list[Processor] = (
        [structlog.dev.ConsoleRenderer(colors=stream.isatty())]
        if people
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    level = getattr(logging, settings.level.upper())
    handler = logging.StreamHandler(stream)
    handler.addFilter(lambda record: level <= logging.DEBUG or not str(record.msg).startswith(RETRIES))
    handler.addFilter(lambda record: record.levelno >= logging.WARNING or not str(record.msg).startswith(LIFECYCLE))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, quiet in QUIET.items():
        logging.getLogger(name).setLevel(level if level <= logging.DEBUG else quiet)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
