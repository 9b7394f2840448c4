"""``tidegate replay decisions`` against the log of a real decision agent."""

from tests.cli.kit import World

from tidegate.cli.session import Exit

FIRST = "service: shop\nartifact: {version: v1, path: v1.py}\nstages: [{setWeight: 100, bake: 0s}]\nwatch: 0s\n"


def test_it_says_how_many_decisions_follow_and_which_do_not(world: World) -> None:
    world.artifact("v1.py")
    assert world.type("policy", "freeze", "calm", "--reason", "audit").code == 0
    assert world.type("rollout", "start", world.plan(FIRST)).code == 0
    assert world.type("policy", "lift", "calm", "--reason", "done").code == 0
    world.deciding = False
    well = world.type("replay", "decisions")
    assert (well.code, well.err) == (0, "")
    assert "derived again, byte for byte" in well.out
    done = world.type("replay", "decisions", "-o", "json").json
    assert done["derived"] + done["takeovers"] == done["records"] > 5
    records = world.log.records["decisions", 0]
    at = next(number for number, record in enumerate(records) if b"audit" in record.value)
    records[at] = records[at]._replace(value=records[at].value.replace(b"audit", b"lunch"))
    ill = world.type("replay", "decisions")
    assert ill.code == Exit.FAILED
    assert f"offset {at}" in ill.out or f"offset {at + 1}" in ill.out
