"""Messages of flagd's sync, held against the stubs that its own provider ships."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from openfeature.schemas.protobuf.flagd.sync.v1 import sync_pb2

from tidegate.api.protobuf import SyncRequest, flags_response, metadata_response, sync_request
from tidegate.wire.codec import Malformed

TEXT = st.text(max_size=300)


@given(TEXT, TEXT)
def test_a_request_of_a_stock_client_is_read(provider_id, selector):
    data = sync_pb2.SyncFlagsRequest(provider_id=provider_id, selector=selector).SerializeToString()
    assert sync_request(data) == SyncRequest(provider_id, selector)


@given(TEXT)
def test_a_stock_client_reads_an_answer(text):
    data = flags_response(text.encode())
    assert sync_pb2.SyncFlagsResponse.FromString(data) == sync_pb2.SyncFlagsResponse(flag_configuration=text)
    assert sync_pb2.FetchAllFlagsResponse.FromString(data).flag_configuration == text


@given(st.dictionaries(TEXT, TEXT, max_size=3))
def test_a_stock_client_reads_metadata(metadata):
    assert dict(sync_pb2.GetMetadataResponse.FromString(metadata_response(metadata)).metadata) == metadata


@given(st.binary(max_size=40))
def test_bytes_that_are_no_request_are_refused_and_never_more_than_that(data):
    try:
        found = sync_request(data)
    except Malformed:
        return
    try:
        theirs = sync_pb2.SyncFlagsRequest.FromString(data)
    except DecodeError:
        return  # theirs also looks into fields that it does not know
    assert found == SyncRequest(theirs.provider_id, theirs.selector)


@pytest.mark.parametrize(
    ("data", "read"),
    [
        (b"\x18\x05\x12\x01a", SyncRequest("", "a")),
        (b"\x1a\x02xx\x12\x01a", SyncRequest("", "a")),
        (b"\x19" + bytes(8) + b"\x12\x01a", SyncRequest("", "a")),
        (b"\x1d" + bytes(4) + b"\x12\x01a", SyncRequest("", "a")),
    ],
)
def test_fields_of_a_newer_client_pass(data, read):
    assert sync_request(data) == read


@pytest.mark.parametrize("data", [b"\x0a", b"\x0a\x05ab", b"\x0a\x01\xff", b"\x08\x01", b"\x0b", b"\x00\x00", b"\xff" * 11])
def test_what_is_malformed_says_so(data):
    with pytest.raises(Malformed):
        sync_request(data)
