import pytest

from tidegate.scrape.selector import Series, parse
from tidegate.wire.codec import Malformed

SERIES = Series("http_requests_total", (("code", "503"), ("path", '/a "b"\\{}')))


@pytest.mark.parametrize(
    ("text", "takes"),
    [
        ("http_requests_total", True),
        (" http_requests_total { } ", True),
        ("http_requests", False),
        ('http_requests_total{code="503"}', True),
        ('http_requests_total{code="50"}', False),
        ('http_requests_total{code=~"5.."}', True),
        ('http_requests_total{code=~"5"}', False),
        ('http_requests_total{code!="503"}', False),
        ('http_requests_total{code!~"4..|503"}', False),
        ('http_requests_total{code!~"4.."}', True),
        ('http_requests_total{ code =~ "5..", path != "/metrics", }', True),
        ('http_requests_total{path="/a \\"b\\"\\\\{}"}', True),
        ('http_requests_total{absent=""}', True),
        ('http_requests_total{absent!=""}', False),
    ],
)
def test_a_selector_takes_what_prometheus_would(text, takes):
    assert parse(text).takes(SERIES) is takes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no metric's name"),
        ("5xx", "no metric's name"),
        ("a b", "no condition"),
        ("a{", "no condition"),
        ('a{code="5"', "no condition"),
        ("a{code=5}", "no condition"),
        ('a{code=="5"}', "no condition"),
        ('a{code="5"} or b', "no condition"),
        ('a{code="5" path="/"}', "no condition"),
        ('a{code=~"["}', "no regular expression"),
        ('a{code=~"\\d"}', "write a backslash"),
    ],
)
def test_what_is_no_selector_is_refused_with_the_form_it_should_have(text, said):
    with pytest.raises(Malformed, match=said):
        parse(text)
