"""What a person asks for by clicks stands in the real decision agent's ledger, or is refused with what to do about it."""

import pytest
from tests.console.look import looking
from tests.rollout.flags import spec

from tidegate.wire.plans import Artifact

pytestmark = [pytest.mark.kafka, pytest.mark.asyncio(loop_scope="module")]


def last(site, service: str = "shop"):
    return site.mirror.model.decisions(f"svc/{service}")[-1].decision


async def test_a_rollout_is_paused_resumed_and_aborted_by_clicks(site, browser, say):
    async with looking(browser, site, "olga") as look:
        await look.open("rollouts", "shop")
        for right, phase, kind in (("pause", "paused", "pause"), ("resume", "running", "resume")):
            await look.sees(f'[data-right="{right}"]')
            assert "Decided" in await look.ask(right, f"I want to {right}")
            decided = last(site)
            assert (decided.kind, decided.actor, decided.message) == (kind, "olga", f"I want to {right}"), decided
            await look.close_dialog()
            await look.sees("h1 .badge", phase)
        await look.page.locator('[data-right="abort"]').click()
        dialog = await look.sees("dialog[open]")
        said = await dialog.inner_text()
        assert "Abort the rollout of shop" in said
        assert "goes back to v1" in said
        assert await dialog.locator("button[type=submit]").is_disabled()
        await look.picture("dialog-abort")
        await look.close_dialog()
        assert "Decided" in await look.ask("abort", "it burns")
        await look.close_dialog()
        await look.sees("h1 .badge", "aborted")
        await site.until(lambda: site.phase() == "done")
        say(f"console: by clicks {' '.join(site.decided()[-4:])}")
        assert [one for one in site.decided() if one in ("pause", "resume", "rollback")] == ["pause", "resume", "rollback"]
        assert str(site.state().result) == "aborted"


async def test_a_refusal_says_why_and_what_to_do(site, browser):
    await site.upgrade_to_gate("web", "p3")
    async with looking(browser, site, "olga") as look:
        look.expected = ("409",)
        await look.open("rollouts", "web")
        await look.page.locator('[data-right="promote"]').click()
        # Somebody else is faster.
        paused = await site.post("/rollouts/web/pause", "olga", {"reason": "wait"})
        assert paused.status_code == 200
        await look.page.locator("dialog[open] textarea").fill("go on")
        await look.page.locator("dialog[open] button[type=submit]").click()
        alert = await look.sees("dialog[open] [role=alert]")
        said = await alert.inner_text()
        assert "you saw" in said
        assert "look again" in said
        assert await look.page.locator("dialog[open] textarea").input_value() == "go on"
        await look.picture("dialog-refused")
        await look.close_dialog()
    assert site.decided("web")[-1] == "pause"


async def test_a_lost_answer_is_asked_for_again_and_counts_once(site, browser):
    async with looking(browser, site, "olga") as look:
        look.expected = ("ERR_FAILED",)
        await look.open("rollouts", "web")
        await look.sees('[data-right="resume"]')

        async def lose(route):
            await route.fetch()
            await route.abort()

        await look.page.route("**/resume", lose, times=1)
        assert "does not answer" in await look.ask("resume", "go on")
        await look.page.locator("dialog[open] button[type=submit]").click()
        await look.sees("dialog[open] [role=status]", "Decided")
    assert site.decided("web").count("resume") == 1


async def test_a_flag_is_killed_and_restored(site, browser):
    await site.set_flag("web/dark", spec(immediate=True))
    async with looking(browser, site, "olga") as look:
        await look.open("flags", "web", "dark")
        assert "Decided" in await look.ask("kill", "it burns")
        await look.close_dialog()
        await look.sees("h1 .badge", "killed")
        assert site.mirror.model.ledger.flags["flag/web/dark"].killed
        assert "Decided" in await look.ask("restore", "mended")
        await look.close_dialog()
        await look.sees("h1 .badge", "on")
        assert not site.mirror.model.ledger.flags["flag/web/dark"].killed


async def test_an_alarm_is_hidden_and_told_again(site, browser):
    await site.alarm("latency_high", "it is slow", service="shop", labels={"zone": "b"})
    async with looking(browser, site, "olga") as look:
        await look.open("alarms")
        await (await look.sees('[data-alarm="judge/latency_high/shop"] button')).click()
        dialog = await look.sees("dialog[open]", "Silence alarms of shop")
        await dialog.locator("textarea").fill("known, a fix is on its way")
        await look.picture("dialog-silence")
        await dialog.locator("button[type=submit]").click()
        await look.sees("dialog[open] [role=status]", "Decided")
        await look.close_dialog()
        await look.sees('[data-alarm="judge/latency_high/shop"]', "hidden by silence")
        (held,) = site.mirror.model.ledger.silences
        assert (held.hush.service, held.hush.name, held.hush.labels, held.actor) == (
            "shop",
            "latency_high",
            {"zone": "b"},
            "olga",
        )
        assert "Decided" in await look.ask("silence", "it is mended")
        await look.close_dialog()
        await look.sees("main", "Nobody hides anything")
    assert site.mirror.model.ledger.silences == ()


async def test_a_node_is_cordoned_and_uncordoned(site, browser):
    async with looking(browser, site, "olga") as look:
        await look.open("fleet", "shop")
        for right, cordoned in (("cordon", {"n1"}), ("uncordon", set())):
            await (await look.sees(f'[data-key="n1"] [data-right="{right}"]')).click()
            await look.page.locator("dialog[open] textarea").fill("its disk is old")
            await look.page.locator("dialog[open] button[type=submit]").click()
            await look.sees("dialog[open] [role=status]", "Decided")
            await look.close_dialog()
            assert set(site.mirror.model.ledger.cordoned) == cordoned


async def test_what_a_token_may_not_do_is_not_offered(site, browser):
    async with looking(browser, site, "shoponly") as look:
        await look.open("rollouts")
        await look.sees("h2", "Over")
        await look.sees_not('[href="#/rollouts/web"]')
    await site.upgrade_to_gate("shop", "p4", artifact=Artifact(version="v3", sha256="c" * 64))
    async with looking(browser, site, "shoponly") as look:
        await look.open("rollouts", "shop")
        await look.sees('[data-right="pause"]')
        assert await look.page.locator("[data-right]").evaluate_all("all => all.map((one) => one.dataset.right)") == ["pause"]
