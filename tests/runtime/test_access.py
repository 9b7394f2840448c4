"""How clients come to the broker: one section for every role, nothing secret in it, refused where it is not safe."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kafka.secured.authority import Authority

from tidegate.runtime.access import PLAIN_TEXT, Access, Sasl, Tls, access_in
from tidegate.runtime.problem import Problem

SASL = Sasl(user="tidegate-{role}", password="file:keys/{role}.password")


JUDGE = Sasl(user="tidegate-judge", password="file:/h/keys/judge.password")


def secret(path: Path, text: str = "s3cret", mode: int = 0o600) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.touch(mode=mode)
    path.chmod(mode)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("access", "expected"),
    [
        (PLAIN_TEXT, PLAIN_TEXT),
        (Access(Tls()), Access(Tls())),
        (
            Access(Tls(ca="ca.pem"), SASL),
            Access(Tls(ca="/h/ca.pem"), Sasl(user="tidegate-judge", password="file:/h/keys/judge.password")),
        ),
        (Access(Tls(ca="/etc/ca.pem", certificate="{role}.pem")), Access(Tls(ca="/etc/ca.pem", certificate="/h/judge.pem"))),
        (Access(Tls(), Sasl(user="x", password="env:PW_{role}")), Access(Tls(), Sasl(user="x", password="env:PW_judge"))),
    ],
)
def test_a_role_and_a_folder_make_one_section_whole(access: Access, expected: Access) -> None:
    assert access.of("judge", Path("/h")) == expected
    assert access.of("{role}", Path("/h")).of("judge", Path()) == expected


def test_clients_are_told_what_stands_in_files_and_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    certificate = authority.certify("judge")
    secret(tmp_path / "keys" / "judge.password")
    monkeypatch.setenv("PW", "fr0m-env")
    assert PLAIN_TEXT.arguments() == {}
    by_file = Access(Tls(ca="ca.pem"), SASL).of("judge", tmp_path)
    told = by_file.arguments()
    assert (told["security_protocol"], told["sasl_mechanism"]) == ("SASL_SSL", "SCRAM-SHA-512")
    assert (told["sasl_plain_username"], told["sasl_plain_password"]) == ("tidegate-judge", "s3cret")
    assert told["ssl_context"].check_hostname
    assert "s3cret" not in repr(by_file)
    assert Access(Tls(), Sasl(user="x", password="env:PW")).arguments()["sasl_plain_password"] == "fr0m-env"
    by_certificate = Access(Tls(ca=str(authority.ca), certificate=str(certificate)))
    assert by_certificate.arguments().keys() == {"security_protocol", "ssl_context"}
    secret(tmp_path / "keys" / "judge.password", "rotated")
    assert by_file.arguments()["sasl_plain_password"] == "rotated"


@pytest.mark.parametrize(
    ("access", "what"),
    [
        (Access(None, SASL), "a password would travel in the clear"),
        (Access(Tls(), Sasl(user="x", password="s3cret")), "never as itself"),
        (Access(Tls(), Sasl(user="x", password="file:none")), "none: no secret can be read there"),
        (Access(Tls(), Sasl(user="x", password="file:open")), "open is a secret and others can read it"),
        (Access(Tls(), Sasl(user="x", password="env:NOT_SET_ANYWHERE")), "NOT_SET_ANYWHERE holds no secret"),
        (Access(Tls(ca="none")), "none: no authority can be read there"),
        (Access(Tls(ca="open")), "open: no authority can be read there"),
        (Access(Tls(certificate="certificate", key="open")), "open is a secret and others can read it"),
        (Access(Tls(certificate="certificate", key="other")), "are no certificate and its key"),
    ],
)
def test_what_is_not_safe_or_not_there_is_refused_by_name(tmp_path: Path, access: Access, what: str) -> None:
    secret(tmp_path / "open", mode=0o644)
    secret(tmp_path / "other", "no key")
    Authority(tmp_path / "a").certify("x").rename(tmp_path / "certificate")
    with pytest.raises(Problem) as refused:
        access.of("judge", tmp_path).arguments()
    assert what in refused.value.what
    assert refused.value.remedy
    assert "s3cret" not in str(refused.value)


TEXT = st.text("abc/.-", min_size=1, max_size=8)
MAYBE = st.none() | TEXT
ACCESS = st.builds(
    Access,
    st.none() | st.builds(Tls, ca=MAYBE, certificate=MAYBE, key=MAYBE),
    st.none() | st.builds(Sasl, user=TEXT, password=TEXT, mechanism=st.sampled_from(["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"])),
)


@given(ACCESS)
def test_what_an_agent_tells_a_service_is_what_the_service_reads(access: Access) -> None:
    assert access_in(access.environment()) == access
    assert access_in({}) == PLAIN_TEXT


@pytest.mark.parametrize(
    ("variables", "what"),
    [
        ({"TIDEGATE_SASL_USER": "x"}, "TIDEGATE_SASL_PASSWORD is missing"),
        ({"TIDEGATE_SASL_PASSWORD": "env:X"}, "TIDEGATE_SASL_USER is missing"),
        ({"TIDEGATE_SASL_USER": "x", "TIDEGATE_SASL_PASSWORD": "env:X", "TIDEGATE_SASL_MECHANISM": "md5"}, "is none of SCRAM"),
    ],
)
def test_variables_that_are_no_access_are_refused(variables: dict[str, str], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        access_in(variables)
