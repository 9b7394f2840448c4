"""Bytes to an OTLP metrics request: protobuf or JSON, compressed or not, within bounds."""

import zlib
from enum import StrEnum
from typing import cast

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from tidegate.otlp.messages import Request, from_json
from tidegate.wire.codec import Malformed

BODY_BYTES_MAX = 4 << 20
"""Of one request, unpacked. SDKs send kilobytes, a collector's batch of 8,192 points is about one MiB."""


class Encoding(StrEnum):
    """How a request is written, as the collector's kafkaexporter calls it."""

    PROTO = "otlp_proto"
    JSON = "otlp_json"


class TooLarge(Exception):
    """More bytes than are read."""


def decode(body: bytes, encoding: Encoding) -> Request:
    """Return the request that bytes hold; Malformed."""
    if len(body) > BODY_BYTES_MAX:
        raise Malformed("", f"{len(body)} bytes; at most {BODY_BYTES_MAX} are read")
    if encoding is Encoding.JSON:
        return from_json(body)
    try:
        # Its messages have the fields and the WhichOneof of ours.
        return cast("Request", ExportMetricsServiceRequest.FromString(body))
    except DecodeError as error:
        raise Malformed("", f"no ExportMetricsServiceRequest: {error}") from error


def unpack(body: bytes) -> bytes:
    """Return what gzip or zlib has packed; TooLarge, or Malformed where it is torn."""
    unpacking = zlib.decompressobj(wbits=47)  # either header
    try:
        found = unpacking.decompress(body, BODY_BYTES_MAX + 1)
    except zlib.error as error:
        raise Malformed("", f"neither gzip nor zlib: {error}") from error
    if len(found) > BODY_BYTES_MAX:
        raise TooLarge
    if not unpacking.eof or unpacking.unused_data:
        raise Malformed("", "the packed body is torn, or something follows it")
    return found
