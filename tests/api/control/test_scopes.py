"""What scopes leave of a role's rights: a table."""

from pathlib import Path

import pytest

from tidegate.api.roles import Right, Role, allows, scope_fault
from tidegate.api.tokens import read_tokens
from tidegate.runtime.problem import Problem

SHOP, FLAG = "svc/shop", "flag/web/dark"


@pytest.mark.parametrize(
    ("role", "scopes", "right", "subject", "allowed"),
    [
        (Role.OPERATOR, (), Right.PAUSE, SHOP, True),
        (Role.OPERATOR, (), Right.APPROVE, SHOP, False),
        (Role.VIEWER, ("shop:pause",), Right.PAUSE, SHOP, False),
        (Role.OPERATOR, ("shop",), Right.PAUSE, SHOP, True),
        (Role.OPERATOR, ("shop",), Right.PAUSE, "svc/shop2", False),
        (Role.OPERATOR, ("shop*",), Right.PAUSE, "svc/shop2", True),
        (Role.OPERATOR, ("shop:pause,abort",), Right.ABORT, SHOP, True),
        (Role.OPERATOR, ("shop:pause",), Right.ABORT, SHOP, False),
        (Role.OPERATOR, ("shop:pause",), Right.READ, SHOP, True),
        (Role.OPERATOR, ("web:abort", "shop:pause"), Right.ABORT, SHOP, False),
        # Services are no flags, and sets are no flags of other sets.
        (Role.OPERATOR, ("*",), Right.READ, FLAG, False),
        (Role.OPERATOR, ("flag/*/*",), Right.READ, SHOP, False),
        (Role.OPERATOR, ("flag/web/*:kill",), Right.KILL, FLAG, True),
        (Role.OPERATOR, ("flag/web/*:kill",), Right.KILL, "flag/app/dark", False),
        (Role.OPERATOR, ("flag/*/dark",), Right.KILL, FLAG, True),
        # The fleet as a whole is only looked at.
        (Role.ADMIN, ("*",), Right.CORDON, "", False),
        (Role.ADMIN, ("*",), Right.READ, "", True),
        (Role.ADMIN, (), Right.CORDON, "", True),
    ],
)
def test_scopes_narrow_a_role(role: Role, scopes: tuple[str, ...], right: Right, subject: str, allowed: bool) -> None:
    assert allows(role, scopes, right, subject) is allowed


@pytest.mark.parametrize("scope", ["a b", "shop:", "shop:dance", "flag/web", "svc/shop/x/y", "[a]", ""])
def test_a_file_with_a_scope_that_is_none_is_refused(tmp_path: Path, scope: str) -> None:
    path = tmp_path / "tokens.yaml"
    path.write_text(f"tokens: [{{name: ci, sha256: {'a' * 64}, role: operator, scopes: ['{scope}']}}]")
    with pytest.raises(Problem, match=r"tokens\[0\]\.scopes"):
        read_tokens(path)


def test_rights_of_a_scope_are_named_where_they_are_none() -> None:
    assert (scope_fault("shop:pause"), "dance: no right" in scope_fault("shop:dance")) == ("", True)
