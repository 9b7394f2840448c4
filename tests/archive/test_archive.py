"""Export and restore on a simulated log: a fleet goes on elsewhere, and nothing that anybody asked for is lost."""

import pytest
from msgspec.structs import replace
from tests.archive.kit import HEAD, SHOP, TRUST, Died, Fleet, Target, commands, decisions
from tests.decider.kit import FLEET
from tests.experiments.kit import did, folded, saw, told

from tidegate.archive import Damaged, check, export, restore
from tidegate.archive.export import BACK
from tidegate.archive.file import Reader, Writer
from tidegate.decider.recorded import TOPICS as READ
from tidegate.decider.recorded import Recorded
from tidegate.replay.decisions import replay
from tidegate.runtime.problem import Problem
from tidegate.wire.codec import encode
from tidegate.wire.documents import GlassAction, Phase
from tidegate.wire.experiments import sums_of
from tidegate.wire.reasons import Reason
from tidegate.world import MemoryLog, SimClock

COMPACTED = ("desired", "reports", "keys", "alarms")


@pytest.fixture
async def fleet():
    clock = SimClock()
    fleet = Fleet(clock, clock.advance)
    fleet.log = MemoryLog(clock)
    yield fleet
    await fleet.end()


async def moved(fleet: Fleet, path, **how) -> Target:
    """Take everybody off the log, and bring it to another; nobody has begun there yet."""
    if fleet.decider is not None:
        fleet.remember()
        await fleet.resign()
    await fleet.leave()
    await export(fleet.log, path, HEAD)
    target = Target(MemoryLog(fleet.clock))
    await restore(check(path, FLEET), target, replace=False, now_ms=fleet.clock.now_ms(), **how)
    fleet.log = target.log
    return target


def records(log: MemoryLog, topics=BACK):
    return [record for topic in topics for record in log.topic(topic)]


async def test_a_rollout_under_way_goes_on_elsewhere_when_a_person_says_so_and_no_node_changes_for_the_move(fleet, tmp_path):
    await fleet.begin(bake="10s")
    before = max(one.order for one in commands(fleet.log.topic("desired")))
    launches = fleet.launches()
    await moved(fleet, tmp_path / "a")
    fleet.serve()
    await fleet.clock.advance(15)
    assert sorted(fleet.versions()) == ["v1", "v1", "v2"]
    assert fleet.launches() == launches, "without a decision agent nothing changes"
    fleet.decide()
    await fleet.clock.advance(5)
    assert fleet.launches() == launches, "nor for its epoch alone"
    assert fleet.ledger.subject(SHOP).paused_reason is Reason.RESTORED
    await fleet.resume()
    await fleet.wait(lambda: fleet.ledger.subject(SHOP).phase is Phase.RUNNING)
    await fleet.finish()
    assert fleet.versions() == ["v2"] * 3
    assert fleet.launches() == [["v1", "v2"]] * 3
    assert min(one.order for one in commands(fleet.log.topic("desired"))) > before
    epochs = [one.epoch for one in decisions(fleet.log.topic("decisions"))]
    assert epochs == sorted(epochs)
    kinds = [one.kind for one in decisions(fleet.log.topic("decisions")) if one.kind in ("pause", "resume", "rollback", "refuse")]
    assert kinds == ["pause", "resume"]


@pytest.mark.parametrize("asked", ["abort", "fail", "glass"])
async def test_a_rollback_that_nobody_had_read_yet_happens_elsewhere(fleet, tmp_path, asked):
    await fleet.begin()
    fleet.remember()
    await fleet.kill()
    await fleet.leave()
    await getattr(fleet, asked)()
    await moved(fleet, tmp_path / "a")
    fleet.serve()
    fleet.decide()
    await fleet.wait(lambda: fleet.ledger.subject(SHOP).phase is Phase.DONE)
    assert fleet.versions() == ["v1"] * 3


async def test_a_break_glass_after_the_move_counts_although_offsets_begin_anew(fleet, tmp_path):
    """Compaction has left few records of many; the decisions name offsets of before."""
    await fleet.begin()
    await fleet.clock.advance(60)
    await fleet.glass("g1", GlassAction.PAUSE)
    await fleet.wait(lambda: fleet.ledger.subject(SHOP).phase is Phase.PAUSED)
    for topic in COMPACTED:
        fleet.log.compact(topic)
    assert fleet.ledger.inputs["desired/0"] > 25
    await moved(fleet, tmp_path / "a")
    fleet.serve()
    fleet.decide()
    await fleet.clock.advance(5)
    assert fleet.ledger.subject(SHOP).phase is Phase.PAUSED
    await fleet.leave()  # the nodes obey by themselves; here it is the agent that has to read it
    await fleet.glass("g2")
    await fleet.wait(lambda: fleet.ledger.subject(SHOP).phase is Phase.ROLLING_BACK)


@pytest.mark.parametrize("age_s", [1, 86_400])
async def test_nodes_that_went_on_after_an_old_archive_obey_the_restored_fleet(fleet, tmp_path, age_s):
    """The cluster is lost some time after the archive was made; meanwhile other agents led there, in later epochs.

    A command of a second ago has not expired: it comes back as none.
    """
    await fleet.begin()
    await export(fleet.log, tmp_path / "old", HEAD)
    for _ in range(5):
        await fleet.resign()
        fleet.decide()
        await fleet.wait(lambda: fleet.decider[0].leading)
    await fleet.abort()
    await fleet.wait(lambda: fleet.ledger.subject(SHOP).phase is Phase.DONE)
    lost = max(one.order for one in commands(fleet.log.topic("desired")))
    await fleet.end()
    fleet.decider = None
    await fleet.clock.advance(age_s)
    launches = fleet.launches()
    target = Target(MemoryLog(fleet.clock))
    await restore(check(tmp_path / "old", FLEET), target, replace=False, now_ms=fleet.clock.now_ms())
    fleet.log = target.log
    fleet.serve()
    fleet.decide()
    await fleet.clock.advance(60)
    assert min(one.order for one in commands(fleet.log.topic("desired"))) > lost
    assert fleet.versions() == ["v1"] * 3, "the rollback that is not in the archive stands"
    assert fleet.launches() == launches
    await fleet.abort()
    await fleet.wait(lambda: fleet.ledger.subject(SHOP).phase is Phase.DONE)
    assert fleet.versions() == ["v1"] * 3


async def test_keys_values_headers_and_times_are_those_of_before(fleet, tmp_path):
    await fleet.begin()
    await fleet.log.append("flags", "shop/f", b"{}", headers={"signature": b"\x00\xff"})
    await fleet.log.append("plans", None, b"\xff noise")
    before = fleet.log
    target = await moved(fleet, tmp_path / "a")
    await fleet.clock.advance(5)
    for topic in ("keys", "plans", "intents", "verdicts", "flags"):
        assert target.log.topic(topic) == before.topic(topic)
    whole = before.topic("decisions")
    assert target.log.topic("decisions")[:-1] == whole
    assert not target.log.topic("reports"), "nodes say them anew"
    assert not target.log.topic("desired"), "it is said anew by who leads"
    assert target.settled == [*BACK[1:-1], "desired", "decisions"]


async def test_decisions_of_after_a_move_are_derived_again_and_the_chain_speaks_for_those_of_before(fleet, tmp_path):
    await fleet.begin(bake="10s")
    await fleet.clock.advance(20)
    for topic in COMPACTED:
        fleet.log.compact(topic)
    await moved(fleet, tmp_path / "a")
    old = len(fleet.log.topic("decisions"))
    fleet.serve()
    fleet.decide()
    await fleet.wait(lambda: fleet.ledger.subject(SHOP).paused_reason is Reason.RESTORED)
    await fleet.resume()
    await fleet.wait(lambda: fleet.ledger.subject(SHOP).phase is Phase.RUNNING)
    await fleet.finish()
    raws = [(one.offset, one.value) for one in fleet.log.topic("decisions")]
    levels = {SHOP: commands(fleet.log.topic("desired"))[-1]}
    done = replay(raws, Recorded(records(fleet.log, READ), TRUST), FLEET, levels)
    assert done.found == ()
    assert done.derived >= len(raws) - old - 1 > 3


async def test_a_cluster_on_which_an_agent_leads_is_not_replaced_unless_it_is_named(fleet, tmp_path):
    await fleet.begin()
    await export(fleet.log, tmp_path / "a", HEAD)
    checked, target = check(tmp_path / "a", FLEET), Target(fleet.log)
    life = fleet.decider[0]._seat.life
    for over in ("", "another"):
        with pytest.raises(Problem, match=f"agent {life} leads on the target") as refused:
            await restore(checked, target, replace=True, over=over, now_ms=7)
        assert f"--over {life}" in refused.value.remedy
    assert len(fleet.log.topic("decisions")) > 3
    await restore(checked, target, replace=True, over=life, now_ms=7)


@pytest.mark.parametrize("gone", ["resign", "kill"])
async def test_a_cluster_whose_agent_is_gone_is_replaced_when_asked(fleet, tmp_path, gone):
    await fleet.begin()
    await export(fleet.log, tmp_path / "a", HEAD)
    fleet.remember()
    await getattr(fleet, gone)()
    await fleet.clock.advance(10)
    await restore(check(tmp_path / "a", FLEET), Target(fleet.log), replace=True, now_ms=7)


# what a crash leaves


@pytest.fixture
async def archive(fleet, tmp_path):
    await fleet.begin()
    fleet.remember()
    await fleet.kill()
    await fleet.glass()
    await export(fleet.log, tmp_path / "a", HEAD)
    return tmp_path / "a"


async def test_wherever_a_restore_dies_agents_wait_and_it_is_refused_until_asked(archive):
    checked = check(archive, FLEET)
    whole = Target(MemoryLog(SimClock()))
    await restore(checked, whole, replace=False, now_ms=7)
    assert whole.done > 30
    for dies_at in range(whole.done):
        target = Target(MemoryLog(SimClock()), dies_at)
        with pytest.raises(Died):
            await restore(checked, target, replace=False, now_ms=7)
        if "desired" in target.topics:
            assert {topic: target.log.topic(topic) for topic in BACK[:-1]} == {
                topic: whole.log.topic(topic) for topic in BACK[:-1]
            }
        target.dies_at = -1
        if records(target.log):
            with pytest.raises(Problem, match="holds records") as refused:
                await restore(checked, target, replace=False, now_ms=7)
            assert "--replace" in refused.value.remedy
        await restore(checked, target, replace=True, now_ms=7)
        assert records(target.log) == records(whole.log)


async def test_a_file_that_changes_between_check_and_restore_opens_nothing(archive):
    checked = check(archive, FLEET)
    data = bytearray(archive.read_bytes())
    data[-3] ^= 1
    archive.write_bytes(data)
    target = Target(MemoryLog(SimClock()))
    with pytest.raises(Damaged, match="has changed since") as found:
        await restore(checked, target, replace=False, now_ms=7)
    assert "half written" in found.value.remedy
    assert "desired" not in target.topics


# what is refused before anything is written


async def test_no_archive_that_was_cut_or_altered_is_accepted(archive):
    data = archive.read_bytes()
    check(archive, FLEET)
    cut = [data[:length] for length in range(0, len(data), 97)]
    flipped = [data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :] for at in range(0, len(data), 41)]
    for other in (*cut, *flipped, data + b"\0"):
        archive.write_bytes(other)
        with pytest.raises(Damaged):
            check(archive, FLEET)


@pytest.mark.parametrize("change", ["edit", "drop", "swap"])
async def test_decisions_that_do_not_follow_are_refused_although_the_digest_was_made_anew(archive, tmp_path, change):
    forged = tmp_path / "forged"
    with forged.open("wb") as file:
        writer = Writer(file, HEAD)
        for block in Reader(archive).blocks():
            rows = block.records()
            if block.topic == "decisions":
                match change:
                    case "edit":
                        rows[2] = rows[2]._replace(value=rows[2].value.replace(b'"now_ms":1', b'"now_ms":2'))
                    case "drop":
                        rows = [one._replace(offset=at) for at, one in enumerate(rows[:2] + rows[3:])]
                    case "swap":
                        rows[2], rows[3] = rows[2]._replace(value=rows[3].value), rows[3]._replace(value=rows[2].value)
            writer.write(rows)
        writer.end()
    with pytest.raises(Damaged, match="chain of decisions breaks"):
        check(forged, FLEET)


async def test_another_fleets_archive_and_another_file_than_the_one_that_was_named_are_refused(archive):
    with pytest.raises(Problem, match="not of other"):
        check(archive, "other")
    with pytest.raises(Damaged, match="has the digest"):
        check(archive, FLEET, "0" * 64)
    assert check(archive, FLEET, check(archive, FLEET).sha256.upper()).under_way == [SHOP]


async def test_an_archive_says_whether_an_agent_was_still_deciding(fleet, archive, tmp_path):
    assert not check(archive, FLEET).resigned
    fleet.decide()
    await fleet.wait(lambda: fleet.decider[0].leading)
    await fleet.resign()
    await export(fleet.log, tmp_path / "b", HEAD)
    assert check(tmp_path / "b", FLEET).resigned


async def test_nothing_is_written_over_and_nothing_half_is_left(fleet, archive, tmp_path):
    with pytest.raises(Problem, match="is there already"):
        await export(fleet.log, archive, HEAD)

    def full(_topic, _count):
        raise OSError(28, "No space left on device")

    with pytest.raises(Problem, match="No space left"):
        await export(fleet.log, tmp_path / "b", HEAD, full)
    assert [one.name for one in tmp_path.iterdir()] == ["a"]

    def meanwhile(_topic, _count):
        (tmp_path / "b").write_text("another export")

    with pytest.raises(Problem, match="is there already"):
        await export(fleet.log, tmp_path / "b", HEAD, meanwhile)
    assert (tmp_path / "b").read_text() == "another export"
    (tmp_path / "c.partial").write_text("mine")
    with pytest.raises(Problem, match="an export is under way"):
        await export(fleet.log, tmp_path / "c", HEAD)
    assert (tmp_path / "c.partial").read_text() == "mine"


async def test_a_network_that_breaks_off_an_export_is_not_told_as_a_disk(fleet, archive, tmp_path):
    def cut(_topic, _count):
        raise ConnectionResetError(104, "Connection reset by peer")

    with pytest.raises(Problem, match="the broker broke off"):
        await export(fleet.log, tmp_path / "b", HEAD, cut)
    assert [one.name for one in tmp_path.iterdir()] == ["a"]


async def test_sums_of_experiments_begin_their_offsets_anew(fleet, tmp_path):
    """Those of the other cluster would outweigh whatever is counted here until its log is as long."""
    sums = told(folded([saw(1, "on"), did(1, "bought")]))
    await fleet.log.append("experiments", sums.key, encode(replace(sums, offset=1_000_000)))
    await fleet.log.append("experiments", "odd/0", b"{}")
    target = await moved(fleet, tmp_path / "archive")
    first, odd = target.log.topic("experiments")
    assert (sums_of(first.value), odd.value) == (replace(sums, offset=0), b"{}")
