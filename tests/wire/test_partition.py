import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.wire.partition import murmur2, partition_of

# The vectors of Kafka's own test of its default partitioner (UtilsTest.testMurmur2).
VECTORS = [
    (b"21", -973932308),
    (b"foobar", -790332482),
    (b"a-little-bit-long-string", -985981536),
    (b"a-little-bit-longer-string", -1486304829),
    (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    (b"abc", 479470107),
]


@pytest.mark.parametrize(("data", "hashed"), VECTORS)
def test_murmur2_is_that_of_kafkas_default_partitioner(data, hashed):
    assert murmur2(data) == hashed & 0xFFFFFFFF


@given(st.text(), st.integers(1, 100))
def test_a_key_has_one_partition_of_those_there_are(key, partitions):
    assert 0 <= partition_of(key, partitions) < partitions
    assert partition_of(key, partitions) == partition_of(key, partitions)


def test_it_agrees_with_the_client_that_writes_the_keyed_topics():
    partitioner = pytest.importorskip("aiokafka.partitioner").DefaultPartitioner()
    every = list(range(12))
    for key in (f"service-{index}" for index in range(200)):
        assert partitioner(key.encode(), every, every) == partition_of(key, 12)
