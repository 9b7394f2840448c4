"""Protobuf pages: ``io.prometheus.client.MetricFamily``, each behind its length. The only form in which clients show native
histograms.

Read by hand: four kinds of fields and five messages of a format that may not change any more. So a node needs no runtime and no
generated code, and families that nobody wants, which is most of a page, are stepped over without a look inside.
"""

from collections.abc import Iterator, Mapping
from math import inf, isfinite
from struct import unpack_from

from tidegate.node.scrape.fetch import ScrapeFailed
from tidegate.node.scrape.series import SERIES_MAX, TOO_MANY, bucket
from tidegate.scrape.page import PROCESS_START, SCHEMA_MAX, SCHEMA_MIN, Kind, Native, Page, Wanted, base_of
from tidegate.scrape.selector import Series

Value = int | float | memoryview
Fields = Mapping[int, list[Value]]
Labels = tuple[tuple[str, str], ...]

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_VALUE_OF = {2: 1, 3: 1, 5: 1}
"""Gauge, counter, untyped: field of a metric, and within it the field of the value."""
_SUMMARY, _HISTOGRAM = 4, 7
_GAUGE_HISTOGRAM = 5
"""A type of family: its buckets go up and down, nothing in it is counted."""
_CREATED = {3: 3, 4: 4, 7: 15}
"""Counter, summary, histogram: where each says when it was created."""


class ProtobufReader:
    """Reads the pages of one target."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._families = wanted.families

    def read(self, body: bytes) -> Page:
        """Return what a page says; ScrapeFailed where it is none, or where too much on it is wanted."""
        page = Page()
        data, at = memoryview(body), 0
        try:
            while at < len(data):
                length, at = _varint(data, at)
                if at + length > len(data):
                    raise ScrapeFailed(f"the page ends within a message, at byte {len(data)}: it is not whole")
                self._family(data[at : at + length], page)
                at += length
        except (IndexError, ValueError, TypeError, KeyError, OverflowError) as error:
            raise ScrapeFailed(f"the page is no protobuf of metrics: {error!r}") from error
        return page

    def _family(self, data: memoryview, page: Page) -> None:
        fields = _fields(data)
        number, first = next(fields, (0, 0))
        name = _text(first) if number == 1 else ""
        if base_of(name) not in self._families:
            return
        kind, metrics = 0, list[Value]()
        for number, value in fields:
            if number == 3:
                kind = _whole(value)
            elif number == 4:
                metrics.append(value)
        for metric in metrics:
            self._metric(name, _message(metric), page, gauge=kind == _GAUGE_HISTOGRAM)

    def _metric(self, name: str, metric: Fields, page: Page, *, gauge: bool) -> None:
        labels = tuple(sorted(_pair(_message(label)) for label in metric.get(1, ())))
        for field, within in _VALUE_OF.items():
            for value in metric.get(field, ())[-1:]:
                message = _message(value)
                self._number(page, name, labels, _float(message.get(within, [0.0])[-1]))
                self._created(page, name, labels, message.get(_CREATED.get(field, 0)))
        for field in (_SUMMARY, _HISTOGRAM):
            for value in metric.get(field, ())[-1:]:
                message = _message(value)
                count = _float(message[4][-1]) if field == _HISTOGRAM and 4 in message else _whole(message.get(1, [0])[-1])
                self._number(page, f"{name}_count", labels, float(count))
                self._number(page, f"{name}_sum", labels, _float(message.get(2, [0.0])[-1]))
                self._created(page, name, labels, message.get(_CREATED[field]))
                if field == _HISTOGRAM and name in self._wanted.histograms and not gauge:
                    self._histogram(Series(name, labels), message, count, page)
        if _size(page) > SERIES_MAX:
            raise ScrapeFailed(TOO_MANY)

    def _number(self, page: Page, name: str, labels: Labels, value: float) -> None:
        if name == PROCESS_START:
            page.start_s = value
        if self._wanted.kind_of(name) is Kind.NUMBER:
            page.numbers[Series(name, labels)] = value

    @staticmethod
    def _created(page: Page, name: str, labels: Labels, stamps: list[Value] | None) -> None:
        if stamps:
            stamp = _message(stamps[-1])
            seconds, nanos = (_whole(stamp.get(field, [0])[-1]) for field in (1, 2))
            page.created[Series(base_of(name), labels)] = seconds + nanos / 1e9

    @staticmethod
    def _histogram(series: Series, message: Fields, count: float, page: Page) -> None:
        if (native := _native(message)) is not None:
            page.native[series] = native
        buckets = page.classic.setdefault(series, {}) if 3 in message else {}
        for value in message.get(3, ()):
            one = _message(value)
            cumulative = _float(one[4][-1]) if 4 in one else _whole(one.get(1, [0])[-1])
            buckets.update((bucket(_float(one.get(2, [0.0])[-1]), cumulative),))
        if buckets:
            buckets.setdefault(*bucket(inf, count))


def _native(message: Fields) -> Native | None:
    """Return the native histogram of a message; None where it has none, or one of a schema that is not exponential."""
    schema = _signed(_whole(message[5][-1])) if 5 in message else None
    if schema is None or not SCHEMA_MIN <= schema <= SCHEMA_MAX:
        return None
    threshold, zero = _float(message.get(6, [0.0])[-1]), _whole(message.get(7, [0])[-1])
    if not isfinite(threshold):
        raise ValueError(f"a zero bucket up to {threshold}")
    # A classic histogram is told apart by having nothing of a native one: clients write an empty span where nothing was seen.
    if threshold == 0 and zero == 0 and 12 not in message and 9 not in message:
        return None
    if 8 in message:
        zero = round(_float(message[8][-1]))
    negative = _buckets(message, 9)
    return Native(
        schema=schema, zero_threshold=max(threshold, 0.0), zero=zero + sum(negative.values()), buckets=_buckets(message, 12)
    )


def _buckets(message: Fields, spans: int) -> dict[int, int]:
    """Return counts by index from spans, and from deltas or, where a client counts in fractions, absolute counts."""
    deltas = [_signed(_whole(value)) for value in _few(_repeated(message.get(spans + 1, ()), fixed=False))]
    absolute = [round(_float(value)) for value in _few(_repeated(message.get(spans + 2, ()), fixed=True))]
    counts: list[int] = absolute
    if not absolute:
        total = 0
        for delta in deltas:
            total += delta
            counts.append(total)
    found: dict[int, int] = {}
    index = at = 0
    for value in message.get(spans, ()):
        span = _message(value)
        index += _signed(_whole(span.get(1, [0])[-1]))
        length = _whole(span.get(2, [0])[-1])
        if at + length > len(counts):
            raise ValueError("spans name more buckets than there are")
        for count in counts[at : at + length]:
            if count < 0:
                raise ValueError(f"a bucket counts {count}")
            found[index] = count
            index += 1
        at += length
    return found


def _few(values: Iterator[Value]) -> Iterator[Value]:
    """Yield the values of one histogram; ScrapeFailed once they are more than a whole page may have."""
    for count, value in enumerate(values):
        if count >= SERIES_MAX:
            raise ScrapeFailed(TOO_MANY)
        yield value


def _size(page: Page) -> int:
    """Return how many series a page holds; of histograms each one, and its buckets where they are many."""
    native = sum(len(one.buckets) for one in page.native.values())
    return len(page.numbers) + len(page.created) + sum(map(len, page.classic.values())) + native


# the format


def _fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == _LENGTH:
            length, at = _varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"a field of kind {kind}")
        if at + length > end:
            raise ValueError("a field is longer than its message")
        yield key >> 3, unpack_from("<d", data, at)[0] if kind == _FIXED64 else data[at : at + length]
        at += length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than ten bytes")


def _message(value: Value) -> Fields:
    if not isinstance(value, memoryview):
        raise TypeError("a number where a message belongs")
    found: dict[int, list[Value]] = {}
    for number, one in _fields(value):
        found.setdefault(number, []).append(one)
    return found


def _repeated(values: list[Value] | tuple[()], *, fixed: bool) -> Iterator[Value]:
    """Yield repeated numbers, packed or one by one."""
    for value in values:
        if not isinstance(value, memoryview):
            yield value
        elif fixed:
            yield from (unpack_from("<d", value, at)[0] for at in range(0, len(value) - 7, 8))
        else:
            at = 0
            while at < len(value):
                number, at = _varint(value, at)
                yield number


def _signed(value: int) -> int:
    """Return the number of which this is the zigzag form."""
    return (value >> 1) ^ -(value & 1)


def _whole(value: Value) -> int:
    if not isinstance(value, int):
        raise TypeError("no whole number")
    return value


def _float(value: Value) -> float:
    if not isinstance(value, float):
        raise TypeError("no fraction")
    return value


def _text(value: Value) -> str:
    if not isinstance(value, memoryview):
        raise TypeError("no text")
    return str(value, "utf-8")


def _pair(label: Fields) -> tuple[str, str]:
    return _text(label[1][-1]) if 1 in label else "", _text(label[2][-1]) if 2 in label else ""
