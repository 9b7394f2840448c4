"""What the control API tells: as old as it says, in the shapes of its document, and nothing before it knows."""

from tests.api.control.kit import installed

from tidegate.api.roles import Role


async def test_before_the_log_was_read_every_route_says_so(world):
    async with installed(world) as here, here.serve(follow=False):
        found = await here.get("/rollouts")
        assert (found.status_code, found.headers["content-type"]) == (503, "application/problem+json")
        assert (found.json()["title"], found.headers["retry-after"]) == ("Service Unavailable", "1")
        assert "not been read" in found.json()["detail"]


async def test_a_rollout_is_told_with_stages_batches_and_reasons(world):
    async with installed(world) as here:
        here.token("ci", Role.OPERATOR)
        async with here.serve():
            begun = await here.start("ci")
            assert (begun.status_code, begun.json()["item"]["decision"]["kind"]) == (200, "accept")
            await here.until(lambda: here.mirror.model.ledger.subject("svc/shop").gate_since_ms > 0)
            found = await here.get("/rollouts/shop", "ci")
            told, known = found.json()["item"], found.json()["known"]
            assert found.headers["etag"] == f'"{told["summary"]["generation"]}"'
            assert float(found.headers["tidegate-lag-seconds"]) >= 0
            assert (known["lag_s"] >= 0, known["offsets"]["decisions/0"] > 0) == (True, True)
            assert (told["plan"]["id"], told["summary"]["phase"], told["released"], told["roster"]) == ("p1", "running", 1, 3)
            assert [(one["standing"], one["canary"]) for one in told["stages"]] == [("current", 1), ("ahead", 3)]
            assert told["summary"]["blockers"]
            assert [one["kind"] for one in told["decisions"]][:2] == ["accept", "start"]
            assert len(told["batches"]) == 1
            listed = (await here.get("/rollouts", "ci")).json()
            assert [one["service"] for one in listed["items"]] == ["shop"]
            fleet = (await here.get("/fleet", "ci")).json()["items"]
            assert sorted(one["cohort"] for one in fleet) == ["canary", "rest", "rest"]
            assert {one["node"] for one in fleet} == {"n1", "n2", "n3"}
            page = (await here.get("/rollouts/shop/decisions?limit=2", "ci")).json()
            older = (await here.get(f"/rollouts/shop/decisions?limit=2&before={page['next']}", "ci")).json()
            seqs = [one["seq"] for one in (*page["items"], *older["items"])]
            assert seqs == sorted(seqs, reverse=True)
            assert len(set(seqs)) == len(seqs)
