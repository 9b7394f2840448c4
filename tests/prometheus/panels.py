"""Parts of Grafana dashboards as plain values, as few as our dashboards need. What Grafana fills in by itself is left out."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from msgspec import Struct

PROMETHEUS = {"type": "prometheus", "uid": "${datasource}"}
KAFKA_TYPE = "hamedkarbasi93-kafka-datasource"
KAFKA = {"type": KAFKA_TYPE, "uid": "tidegate-kafka"}
COLUMNS = 24

Json = dict[str, Any]


class Query(NamedTuple):
    """One expression and how its series are named."""

    expr: str
    legend: str = ""


class Panel(Struct, frozen=True):
    """One picture before it has its place. ``settings``: what its type needs beside."""

    title: str
    kind: str
    queries: Sequence[Query]
    unit: str = "short"
    width: int = 8
    height: int = 7
    about: str = ""
    settings: Json = {}
    topic: str = ""
    """Of a picture that reads Kafka itself."""


def lines(title: str, *queries: Query, **more: Any) -> Panel:
    """Lines over time."""
    custom = {"lineWidth": 1, "fillOpacity": 8, "showPoints": "never", "spanNulls": 30_000}
    return Panel(title, "timeseries", queries, settings={"custom": custom}, **more)


def states(title: str, *queries: Query, **more: Any) -> Panel:
    """What was true when."""
    return Panel(title, "state-timeline", queries, settings={"custom": {"fillOpacity": 70, "lineWidth": 0}}, **more)


def number(title: str, *queries: Query, bad: float | None = None, **more: Any) -> Panel:
    """The present value, red from ``bad`` on."""
    steps = [{"color": "green", "value": None}] + ([{"color": "red", "value": bad}] if bad is not None else [])
    return Panel(title, "stat", queries, settings={"thresholds": {"mode": "absolute", "steps": steps}}, width=4, height=4, **more)


def name(title: str, *queries: Query, **more: Any) -> Panel:
    """The present state, by its name."""
    return Panel(title, "stat", queries, settings={"names": True}, width=4, height=4, **more)


def table(title: str, *queries: Query, **more: Any) -> Panel:
    """The labels of what is true now."""
    return Panel(title, "table", queries, **more)


def live(title: str, topic: str, *fields: str, **more: Any) -> Panel:
    """Fields of records as they come, straight from Kafka: a live view without a past."""
    custom = {"lineWidth": 1, "showPoints": "auto"}
    return Panel(title, "timeseries", [Query(field) for field in fields], topic=topic, settings={"custom": custom}, **more)


def dashboard(
    uid: str, title: str, panels: Iterable[Panel], variables: Sequence[Json] = (), *, about: str = "", marked: str = ""
) -> Json:
    """A whole dashboard; panels flow from left to right, as wide as they say. ``marked``: of which decisions are marked; all."""
    return {
        "uid": uid,
        "title": title,
        "description": about,
        "tags": ["tidegate"],
        "schemaVersion": 39,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "5s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": [_datasource(), *variables]},
        "annotations": {"list": marks(marked)},
        "links": [{"type": "dashboards", "tags": ["tidegate"], "title": "Tidegate", "asDropdown": True}],
        "panels": list(_placed(panels)),
    }


def variable(label: str, metric: str) -> Json:
    """A choice among the values of a label."""
    query = f"label_values({metric}, {label})"
    return {
        "name": label,
        "type": "query",
        "label": label,
        "datasource": PROMETHEUS,
        "query": {"query": query, "refId": label},
        "refresh": 2,
        "sort": 1,
    }


def marks(of: str) -> list[Json]:
    """Decisions on every time axis, at the time of each (the value of the series), forward and back in two colours."""
    back = "rollback|pause|kill|safe"
    selectors = {"Back": f'kind=~"{back}"', "Forward": f'kind!~"{back}|refuse|setting"'}
    return [
        _mark(title, ", ".join(filter(None, (selector, of))), colour)
        for (title, selector), colour in zip(selectors.items(), ("red", "blue"), strict=True)
    ]


def _mark(title: str, matcher: str, colour: str) -> Json:
    return {
        "name": title,
        "datasource": PROMETHEUS,
        "enable": True,
        "expr": f"max by (subject, kind, reason) (tidegate_decision_timestamp_seconds{{{matcher}}}) * 1000",
        "useValueForTime": True,
        "step": "5s",
        "titleFormat": "{{kind}} {{subject}}",
        "textFormat": "{{reason}}",
        "tagKeys": "subject,kind",
        "iconColor": colour,
    }


def _datasource() -> Json:
    return {"name": "datasource", "type": "datasource", "label": "Prometheus", "query": "prometheus", "refresh": 1}


def _placed(panels: Iterable[Panel]) -> Iterable[Json]:
    x = y = row_height = 0
    for number_, one in enumerate(panels, 1):
        if x + one.width > COLUMNS:
            x, y, row_height = 0, y + row_height, 0
        yield _panel(one) | {"id": number_, "gridPos": {"x": x, "y": y, "w": one.width, "h": one.height}}
        x, row_height = x + one.width, max(row_height, one.height)


def _panel(one: Panel) -> Json:
    defaults: Json = {"unit": one.unit} | {key: one.settings[key] for key in ("custom", "thresholds") if key in one.settings}
    found: Json = {
        "title": one.title,
        "type": one.kind,
        "description": one.about,
        "datasource": KAFKA if one.topic else PROMETHEUS,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [_from_kafka(one)] if one.topic else [_target(one, query, at) for at, query in enumerate(one.queries)],
    }
    if one.topic:
        named = ["time", *(query.expr for query in one.queries)]
        found["transformations"] = [{"id": "filterFieldsByName", "options": {"include": {"names": named}}}]
    if one.settings.get("names"):
        found["options"] = {"textMode": "name", "colorMode": "value", "graphMode": "none"}
    if one.kind == "timeseries":
        found["options"] = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    return found


def _target(one: Panel, query: Query, at: int) -> Json:
    now = one.kind in ("stat", "table")
    form = "table" if one.kind == "table" else "time_series"
    return {
        "refId": chr(ord("A") + at),
        "datasource": PROMETHEUS,
        "expr": query.expr,
        "legendFormat": query.legend,
        "instant": now,
        "range": not now,
        "format": form,
    }


def _from_kafka(one: Panel) -> Json:
    return {
        "refId": "A",
        "datasource": KAFKA,
        "topicName": one.topic,
        "partition": "all",
        "messageFormat": "json",
        "autoOffsetReset": "lastN",
        "lastN": 100,
        "timestampMode": "message",
    }
