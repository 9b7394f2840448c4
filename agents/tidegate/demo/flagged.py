"""Which checkout a user gets, by the flag ``shop/checkout``. Apart, since a shop that follows no flags starts sooner without."""

import contextlib
from collections.abc import AsyncIterator, Callable

from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ProviderNotReadyError

from tidegate.demo.shop import CHECKOUT, CLASSIC, FLAG_SET
from tidegate.sdk.flags import AsyncTidegateProvider, FlagSettings

FLAGS_WITHIN_S = 1.0
"""A shop that cannot ask for flags sells as it always did."""


@contextlib.asynccontextmanager
async def flagged() -> AsyncIterator[Callable[[str | None], str]]:
    """Follow the shop's flags, where a node agent says; yield what tells a user's checkout."""
    provider = AsyncTidegateProvider(FlagSettings.of(flag_set=FLAG_SET, wait_s=FLAGS_WITHIN_S))
    with contextlib.suppress(ProviderNotReadyError):
        await provider.start()
    api.set_provider(provider)
    client = api.get_client()
    try:
        yield lambda user: client.get_string_value(CHECKOUT, CLASSIC, EvaluationContext(user))
    finally:
        await provider.close()
