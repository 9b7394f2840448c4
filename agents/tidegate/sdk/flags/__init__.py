"""Feature flags for a service, through OpenFeature. Needs the extra ``flags``:

    from openfeature import api
    from tidegate.sdk.flags import FlagSettings, TidegateProvider

    api.set_provider_and_wait(TidegateProvider(FlagSettings.of(flag_set="web")))
    if api.get_client().get_boolean_value("dark", False, EvaluationContext("kim")):
        ...

With asyncio: ``async with AsyncTidegateProvider(settings) as provider: api.set_provider(provider)``.

Every evaluation is in process: no network, no lock, a few microseconds. Flags come from the topic ``flags``, each verified. With
the broker gone they stay as they were last, and their age is told; a snapshot on disk serves a start without broker.
"""

from tidegate.flagfeed import Status
from tidegate.sdk.flags.exposures import EventStats
from tidegate.sdk.flags.provider import AsyncTidegateProvider, TidegateProvider
from tidegate.sdk.flags.settings import FlagSettings

__all__ = ["AsyncTidegateProvider", "EventStats", "FlagSettings", "Status", "TidegateProvider"]
