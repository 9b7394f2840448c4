"""The OpenFeature provider: what a service gets, what it is told, and that it is never worse off for a broker that is away."""

import asyncio
import json
import subprocess
import sys
import threading
from random import Random

import pytest
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEvent
from openfeature.exception import ErrorCode, ProviderFatalError, ProviderNotReadyError
from openfeature.flag_evaluation import Reason
from openfeature.provider import ProviderStatus
from tests.flagfeed.kit import FLEET, TRUST, Author, flag
from tests.flags.kit import load
from tests.flags.matrix import cases, flags
from tests.sdk.flagkit import DOMAIN, Service, settings

from tidegate.flagfeed import Held
from tidegate.flagfeed.follow import SNAPSHOT
from tidegate.flags.evaluate import Asked, evaluate
from tidegate.ports import SystemClock
from tidegate.sdk.flags import AsyncTidegateProvider, FlagSettings, Status
from tidegate.wire.documents import Order
from tidegate.wire.flags import EVALUATORS, METADATA, Kind, topic_key
from tidegate.wire.flagstamps import stamp
from tidegate.wire.names import is_name
from tidegate.world import MemoryLog

KIM = EvaluationContext("kim", {"country": "nl"})


@pytest.fixture
def service(tmp_path):
    service = Service(tmp_path)
    yield service
    service.end()


def test_a_service_gets_what_is_published_as_soon_as_its_provider_is_ready(service):
    service.put("web/dark", flag("on"))
    service.begin()
    found = service.client.get_boolean_details("dark", False, KIM)
    assert (found.value, found.variant, found.reason, found.error_code) == (True, "on", Reason.STATIC, None)
    assert service.provider.status is Status.READY
    assert service.provider.age_s < 5


def test_a_change_is_told_with_the_flags_that_it_changes(service):
    service.put("web/dark", flag("on"))
    service.put("web/light", flag("on"))
    service.begin()
    service.put("web/dark", flag("off"))
    service.put("shop/dark", flag("off"))
    assert service.next("changed").flags_changed == ["dark"]
    assert service.client.get_boolean_value("dark", True, KIM) is False
    service.put(f"web/{EVALUATORS}", b'{"all": true}')
    assert sorted(service.next("changed").flags_changed) == ["dark", "light"]
    service.put("web/dark", None)
    assert service.next("changed").flags_changed == ["dark"]
    assert service.client.get_boolean_details("dark", True, KIM).error_code is ErrorCode.FLAG_NOT_FOUND


KINDS = {
    Kind.BOOLEAN: "get_boolean_details",
    Kind.STRING: "get_string_details",
    Kind.INTEGER: "get_integer_details",
    Kind.FLOAT: "get_float_details",
    Kind.OBJECT: "get_object_details",
}


def test_every_type_and_error_is_what_the_evaluator_says(service):
    chance = Random(7)
    file = flags(chance, 60)
    for key, value in file["flags"].items():
        service.put(f"web/{key}", json.dumps(value).encode())
    service.put(f"web/{EVALUATORS}", json.dumps(file.get("$evaluators", {})).encode())
    service.put(f"web/{METADATA}", json.dumps(file.get("metadata", {})).encode())
    service.begin()
    asked = [case for case in cases(chance, file, 300) if is_name(case.key)]
    held, client = load(file), service.client
    codes = set()
    for case in asked:
        attributes = {name: value for name, value in case.context.items() if name != "targetingKey"}
        context = EvaluationContext(case.context.get("targetingKey") or None, attributes)  # OpenFeature takes "" for none
        got = getattr(client, KINDS[case.kind])(case.key, case.default, context)
        plain = {**attributes, "targetingKey": context.targeting_key}
        want = evaluate(held, case.key, Asked(context=plain, now_s=0, kind=case.kind, default=case.default))
        assert (got.value, got.variant, got.reason) == (want.value, want.variant, want.reason)
        assert (got.error_code and got.error_code.value) == (want.error_code and want.error_code.value)
        codes.add(got.error_code)
    assert {None, ErrorCode.FLAG_NOT_FOUND, ErrorCode.TYPE_MISMATCH} <= codes


def test_without_broker_and_snapshot_it_is_not_ready_callers_get_their_defaults_and_it_recovers_by_itself(tmp_path):
    service = Service(tmp_path, wait_s=0.05)
    service.put("web/dark", flag("on"))
    service.log.reachable = False
    try:
        with pytest.raises(ProviderNotReadyError):
            service.begin()
        service.next("error")
        found = service.client.get_boolean_details("dark", False, KIM)
        assert (found.value, found.error_code) == (False, ErrorCode.PROVIDER_NOT_READY)
        service.log.reachable = True
        service.next("ready")
        assert service.client.get_boolean_value("dark", False, KIM) is True
    finally:
        service.end()


class Broken(MemoryLog):
    """A log whose readers fail in a way that nobody foresaw, for as long as it is broken."""

    broken = False

    async def reader(self, topics, **how):
        found = await super().reader(topics, **how)
        poll = found.poll

        async def failing(timeout_s):
            if self.broken:
                raise RuntimeError("nobody foresaw this")
            return await poll(min(timeout_s, 0.05))

        found.poll = failing
        return found


def test_an_error_that_nobody_foresaw_is_told_flags_stay_and_it_begins_anew(tmp_path, monkeypatch):
    monkeypatch.setattr("tidegate.sdk.flags.session.RESTART_S", 0.05)
    service = Service(tmp_path)
    service.log = service.author.log = service.provider._log = Broken(SystemClock())
    service.put("web/dark", flag("on"))
    service.begin()
    try:
        service.next("ready")
        service.log.broken = True
        assert "foresaw" in service.next("error").message
        assert service.client.get_boolean_value("dark", False, KIM) is True
        service.log.broken = False
        service.next("ready")
        assert service.provider.status is Status.READY
    finally:
        service.end()


def snapshot(folder, ago_s: float = 60.0) -> None:
    """What an earlier life has left on the disk."""
    key, value = topic_key("web/dark"), flag("on")
    held = Held(TRUST, lambda _key, _value: None)
    held.take(str(key), value, stamp(key, value, Order(1, 1, 1), FLEET, Author(None).by))
    (folder / "web").mkdir()
    (folder / "web" / SNAPSHOT).write_bytes(held.snapshot(SystemClock().now_ms() - round(ago_s * 1_000)))


def test_without_broker_it_starts_from_its_snapshot_and_says_how_old_that_is(tmp_path):
    snapshot(tmp_path)
    service = Service(tmp_path, wait_s=0.05, snapshot=tmp_path)
    service.log.reachable = False
    try:
        service.begin()
        stale = service.next("stale")
        assert stale.metadata["age_s"] >= 60
        assert "last known good" in stale.message
        assert service.client.get_provider_status() is ProviderStatus.STALE
        assert service.client.get_boolean_value("dark", False, KIM) is True
        assert service.provider.age_s >= 60
        service.log.reachable = True
        service.next("ready")
        assert service.client.get_provider_status() is ProviderStatus.READY
    finally:
        service.end()


def test_what_was_read_is_there_for_the_next_start(tmp_path):
    service = Service(tmp_path, snapshot=tmp_path)
    service.put("web/dark", flag("on"))
    service.begin()
    service.provider.shutdown()
    again = Service(tmp_path, wait_s=0.05, snapshot=tmp_path)
    again.log.reachable = False
    again.begin()
    assert again.client.get_boolean_value("dark", False, KIM) is True
    again.end()


def test_shutdown_leaves_no_thread_and_it_may_begin_again(service):
    before = {thread for thread in threading.enumerate() if not thread.name.startswith("openfeature")}
    service.put("web/dark", flag("on"))
    for _ in range(2):
        service.provider.initialize(EvaluationContext())
        service.provider.initialize(EvaluationContext())
        assert service.provider.resolve_boolean_details("dark", False, KIM).value is True
        service.provider.shutdown()
        service.provider.shutdown()
        now = {thread for thread in threading.enumerate() if not thread.name.startswith("openfeature")}
        assert now == before
        assert service.provider.resolve_boolean_details("dark", False, KIM).error_code is ErrorCode.PROVIDER_NOT_READY
        assert service.provider.status is Status.NOT_READY


@pytest.mark.parametrize("fault", ["missing", "writable by others", "not a key document"])
def test_a_key_document_that_cannot_be_trusted_is_fatal(tmp_path, fault):
    service = Service(tmp_path)
    root = service.provider.settings.root
    if fault == "missing":
        root.unlink()
    elif fault == "writable by others":
        root.chmod(0o666)
    else:
        root.write_bytes(b"{}")
    try:
        with pytest.raises(ProviderFatalError, match="root"):
            service.begin()
        assert service.client.get_boolean_details("dark", True).error_code is ErrorCode.PROVIDER_FATAL
    finally:
        service.end()


async def test_on_asyncio_the_same_without_a_thread(tmp_path):
    log = MemoryLog(SystemClock())
    author = Author(log)
    await author.put("web/dark", flag("on"))
    before = threading.active_count()
    async with AsyncTidegateProvider(settings(tmp_path), log) as provider:
        api.set_provider_and_wait(provider, DOMAIN)
        client = api.get_client(DOMAIN)
        assert await client.get_boolean_value_async("dark", False, KIM) is True
        assert threading.active_count() == before
        changed = asyncio.Event()
        loop = asyncio.get_running_loop()
        client.add_handler(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, lambda _: loop.call_soon_threadsafe(changed.set))
        await author.put("web/dark", flag("off"))
        await changed.wait()
        assert await client.get_boolean_value_async("dark", True, KIM) is False
    api.clear_providers()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_on_asyncio_without_anything_it_is_not_ready(tmp_path):
    log = MemoryLog(SystemClock())
    log.reachable = False
    provider = AsyncTidegateProvider(settings(tmp_path, wait_s=0.01), log)
    with pytest.raises(ProviderNotReadyError):
        provider.initialize(EvaluationContext())
    with pytest.raises(ProviderNotReadyError):
        await provider.start()
    await provider.close()


ENVIRONMENT = {
    "TIDEGATE_FLAG_SET": "web",
    "TIDEGATE_ROOT": "/etc/tidegate/root.json",
    "TIDEGATE_BOOTSTRAP": "kafka:9092",
    "TIDEGATE_PREFIX": "staging.",
    "TIDEGATE_STATE": "/var/lib/tidegate",
    "TIDEGATE_SERVICE": "shop",
    "TIDEGATE_NODE": "n1",
}


def test_what_is_not_said_comes_from_the_environment_of_the_node_agent():
    found = FlagSettings.of(ENVIRONMENT)
    assert (found.flag_set, str(found.root), found.bootstrap, found.prefix) == (
        "web",
        "/etc/tidegate/root.json",
        "kafka:9092",
        "staging.",
    )
    assert (str(found.snapshot), found.service, found.node) == ("/var/lib/tidegate/flags", "shop", "n1")
    assert FlagSettings.of(ENVIRONMENT, flag_set="shop", snapshot=None).snapshot is None
    user = {"TIDEGATE_TLS": "on", "TIDEGATE_SASL_USER": "shop", "TIDEGATE_SASL_PASSWORD": "env:SECRET"}
    assert (found.access.principal, FlagSettings.of(ENVIRONMENT | user).access.principal) == ("User:ANONYMOUS", "User:shop")


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ({"root": "root.json"}, "flag_set is named"),
        ({"flag_set": "web"}, "root is named"),
        ({"flag_set": "a/b", "root": "r"}, "a/b"),
    ],
)
def test_settings_that_cannot_be_used_say_so(known, told):
    with pytest.raises(ValueError, match=told):
        FlagSettings.of({}, **known)


def test_whoever_does_not_use_flags_imports_none_of_their_libraries(tmp_path):
    heavy = "('cryptography', 'json_logic', 'mmh3', 'openfeature', 'semver', 'structlog', 'yaml')"
    code = f"import sys, tidegate.sdk; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
