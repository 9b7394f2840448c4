"""Flags that are judged on a service: their panes (``tidegate.kpi.flags``), and the KPIs of their variants."""

from collections.abc import Collection, Iterator, Mapping

from tidegate.judge.state import JudgeState
from tidegate.kpi.caps import Refusal
from tidegate.kpi.flags import Flag, pane_of, sliced
from tidegate.kpi.kpis import kpi_of
from tidegate.kpi.pane import FlagPane, ServicePane
from tidegate.kpi.rows import Rows
from tidegate.wire.judgement import Kpi
from tidegate.wire.names import judged


def flag_panes(
    state: JudgeState, start_ms: int, rows: Rows, services: Collection[str]
) -> tuple[Mapping[str, dict[str, FlagPane]], list[Refusal]]:
    """Return by service and subject the panes of the flags that are judged on some services, and variants without KPIs."""
    flags = {service: known for service, known in state.flags.items() if service in services}
    if not flags:
        return {}, []
    told, refusals = sliced(rows, flags)
    panes = {
        service: {
            flag.subject: pane_of(flag, service, start_ms, told[service, flag.subject], _served(state, service, flag))
            for flag in known
        }
        for service, known in flags.items()
    }
    return panes, refusals


def _served(state: JudgeState, service: str, flag: Flag) -> Mapping[str, int]:
    known = state.subjects.get(judged(flag.subject, service))
    return known.served if known is not None and known.placement == flag.placement else {}


def flag_kpis(state: JudgeState, pane: ServicePane) -> Iterator[Kpi]:
    """Yield the KPIs of variants that are complete with a pane. They are no part of what is scored."""
    for flag in state.flags.get(pane.service, ()):
        context = state.contexts[judged(flag.subject, pane.service)]
        names = sorted({variant.shown for variant in flag.variants.values()})
        for seconds, variant, window in state.windows.add(pane.flags[flag.subject].variants, flag.subject, names):
            if pane.end_ms - seconds * 1_000 >= state.begun_ms:
                yield kpi_of(pane.service, variant, pane.end_ms, seconds, window, context)
