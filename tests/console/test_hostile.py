"""Whatever a record says is shown as text: in every view, two hundred texts in every field that may hold them."""

import asyncio

import msgspec
import pytest
from tests.console.hostile import hostile
from tests.console.look import looking

from tidegate.model.asked import EVERYTHING
from tidegate.wire.documents import ServiceReport, Verb
from tidegate.wire.experiments import Experiment, Metric
from tidegate.wire.flagspecs import FlagSpec
from tidegate.wire.judgement import Evidence, Outcome, Severity
from tidegate.wire.plans import Action
from tidegate.wire.reasons import Reason
from tidegate.wire.telemetry import ServiceState

TEXTS = hostile()
FOREIGN = "main script, main iframe, main object, main embed, main img, main style, main base, main meta, main link, main video"
LABEL_LENGTH_MAX = 256


def test_there_are_two_hundred_and_none_is_another():
    assert len(set(TEXTS)) == len(TEXTS) == 200


@pytest.mark.kafka
@pytest.mark.asyncio(loop_scope="module")
async def test_no_text_runs_in_any_view(site, browser, say):
    await written(site)
    ways = (("fleet",), ("fleet", "shop"), ("rollouts",), ("rollouts", "shop"), ("flags",), ("flags", "web", "hostile"))
    async with looking(browser, site, "olga") as look:
        seen = ""
        for view in (*ways, ("experiments",), ("alarms",), ("timeline",)):
            await look.open(*view, query="?past=1&shown=1000")
            await look.live()
            await look.sees_not(".waiting")
            if view == ("rollouts", "shop"):
                await look.sees("[data-cohort]")
            await look.page.locator("details").evaluate_all("all => all.forEach((one) => { one.open = true; })")
            seen += await look.page.locator("main").inner_text()
            assert await look.page.locator(FOREIGN).count() == 0, view
            links = await look.page.locator("a").evaluate_all("all => all.map((one) => one.protocol)")
            assert set(links) == {"http:"}, view
            assert await look.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
            await look.picture(f"hostile-{'-'.join(view)}")
        look.expected = ("404",)  # no service has such a name
        # Of the address, too, nothing is taken for more than text.
        for text in TEXTS[:: len(TEXTS) // 20]:
            await look.page.evaluate("text => { location.hash = '#/rollouts/' + encodeURIComponent(text) + '?q=' + text; }", text)
            await look.sees("h1")
        assert await look.page.evaluate("window.pwned") == []
    shown = sum(squeezed(text) in squeezed(seen) for text in TEXTS)
    say(f"console: {shown} of {len(TEXTS)} hostile texts shown as they are, in every field; none ran")
    assert shown == len(TEXTS)


def squeezed(text: str) -> str:
    """A text as a browser shows it: blanks run together, and what cannot be seen is not there."""
    return "".join(one for one in text if one.isprintable() and not one.isspace())


async def written(site) -> None:
    """Have all texts in every kind of record."""
    some = iter(TEXTS * 20)
    records = []
    for number, text in enumerate(TEXTS):
        severity, labels = list(Severity)[number % 3], {next(some): next(some)}
        fields = {"service": next(some), "writer": next(some), "severity": severity, "labels": labels}
        records.append(site.alarm(f"{text}/{number}", text, id=text, **fields))
        # Only so long a reason is signed; what is longer is refused before.
        verb = Verb.UNCORDON if number % 2 else Verb.CORDON
        reason, actor = text[:LABEL_LENGTH_MAX], next(some)[:LABEL_LENGTH_MAX]
        records.append(site.want(EVERYTHING, verb, target="n1", reason=reason, actor=actor))
    await asyncio.gather(*records)
    for group in (tuple(TEXTS[at : at + 10]) for at in range(0, len(TEXTS), 10)):
        await site.measure("canary", version=group[0])
        await site.judge(
            Outcome.HOLD,
            Reason.WARMING_UP,
            action=Action.PAUSE,
            sentence=group[0],
            metric=group[1],
            compared_with=group[2],
            silent_nodes=group[3:5],
            deviating=group[5:7],
            evidence=(
                Evidence(family=group[7], metric=group[8], log_e=1.0, threshold=2.0, deleted=(group[9],), compared_with=group[9]),
            ),
        )
    hosted = ServiceReport(
        service="shop", executor="none", state=ServiceState.READY, version=next(some), error=" ".join(TEXTS)[:4_000]
    )
    await site.report(hosted, zone=TEXTS[0], labels={TEXTS[1]: TEXTS[2]}, frozen=TEXTS[3])
    variants = {text: index for index, text in enumerate(TEXTS[:8])}
    weights = {"fractional": [[text, 1] for text in TEXTS[:4]]}
    definition = {"state": "ENABLED", "variants": variants, "defaultVariant": TEXTS[0], "targeting": weights}
    tried = FlagSpec(
        definition=msgspec.Raw(msgspec.json.encode(definition | {"metadata": {TEXTS[9]: TEXTS[10]}})),
        safe_variant=TEXTS[0],
        immediate=True,
        experiment=Experiment(name="hostile", control=TEXTS[0], primary=Metric(name="order")),
    )
    await site.set_flag("web/hostile", tried, reason=TEXTS[11][:LABEL_LENGTH_MAX])
    await site.count(tried, "web/hostile", dict.fromkeys(TEXTS[:4], (1000, 100)))
    paused = await site.post("/rollouts/shop/pause", "olga", {"reason": TEXTS[12]})
    assert paused.status_code == 200
    body = {"service": "shop", "name": TEXTS[13], "labels": {TEXTS[14]: TEXTS[15]}, "lasts": "2h", "reason": TEXTS[16]}
    assert (await site.post("/silences", "olga", body)).status_code == 200
