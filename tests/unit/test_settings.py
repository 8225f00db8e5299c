"""Settings: read once, checked, and refused by name without showing a value."""

import orjson
import pytest

from local.stack.process import ROOT
from shared.core.errors import SettingsError
from shared.core.prices import Price
from shared.settings import Settings, load_settings

CALLERS = '[{"name": "ann"}]'
LEAST = {
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "UPSTREAM_BASE_URL": "https://api.example.com/v1",
    "CALLERS": CALLERS,
}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
UNRESOLVED = "@Microsoft.KeyVault(SecretUri=https://vault.example.com/secrets/x)"


WRONG_SECRETS = (
    *("whsec_geheim", "geheim", f"{'x' * 24}, whsk_geheim", "whpk_geheim", f"v1,{SECRET}", f"{SECRET},geheim"),
    *("x" * 23, "é" * 11, "whsec_Z2VoZWlt"),
)


def loaded(**changes: str) -> Settings:
    """Return the settings of the minimal environment, with these changes."""
    return load_settings({**LEAST, **changes})


def test_three_settings_are_enough() -> None:
    """All other settings have a default. Loopback callbacks and idempotency keys of the upstream are off."""
    settings = load_settings(LEAST)
    assert settings.callers.named("ann")
    assert settings.storage_connection == "UseDevelopmentStorage=true"
    (upstream,) = settings.upstreams
    assert (upstream.name, upstream.base_url) == ("default", "https://api.example.com/v1")
    assert upstream.scope == "https://cognitiveservices.azure.com/.default"
    assert (settings.deadline_s, settings.retention_s) == (4 * 3600, 30 * 86_400)
    assert not settings.allow_loopback
    assert not upstream.honours_keys
    assert settings.reply_queues == ()
    assert settings.own_hosts == frozenset()
    assert upstream.is_background
    assert settings.watch
    assert not settings.console
    assert settings.prices == {}
    assert (settings.stream_heartbeat_s, settings.stream_max_s, settings.foreground_hold_s) == (15.0, 21_000.0, 85.0)
    assert (upstream.api_key, settings.storage_table_uri, settings.identity_client_id) == (None, None, None)


def test_the_limits_of_the_api_are_the_defaults() -> None:
    """A caller finds there how long a response may take, and how long it is kept."""
    settings, limits = load_settings(LEAST), (ROOT / "docs" / "api.md").read_text("utf-8").partition("\n## Limits\n")[2]
    assert f"| {settings.deadline_s // 3600} h (`RESPONSE_DEADLINE_S`)" in limits
    assert f"| {settings.retention_s // 86_400} days (`RETENTION_S`) |" in limits


def test_every_setting_is_read() -> None:
    """Each setting of docs/settings.md is read from its variable."""
    settings = load_settings(
        {
            "AzureWebJobsStorage__accountName": "store1",
            "AZURE_CLIENT_ID": "id-1",
            "UPSTREAM_BASE_URL": "http://127.0.0.1:8080",
            "UPSTREAM_API_KEY": "sk-1",
            "UPSTREAM_SCOPE": "https://ai.azure.com/.default",
            "UPSTREAM_HONOURS_IDEMPOTENCY_KEY": "true",
            "CALLERS": CALLERS,
            "RESPONSE_DEADLINE_S": "60",
            "RETENTION_S": "3600",
            "REPLY_QUEUES": "answers, team-*,,",
            "CALLBACK_ALLOW_LOOPBACK": "1",
            "IDENTITY_ENDPOINT": "http://127.0.0.1:41741/msi/token/",
            "MSI_ENDPOINT": "http://LOCALHOST:41741/",
            "WEBSITE_HOSTNAME": "App.example.com",
            "UPSTREAM_MODE": "Foreground",
            "STREAM_HEARTBEAT_S": "0.5",
            "STREAM_MAX_S": "230",
            "FOREGROUND_HOLD_S": "1.5",
            "AGENTS_MODULE": "examples.agents",
            "WATCH": "False",
            "CONSOLE": "true",
            "PRICES": "m=1/2",
        }
    )
    assert settings.storage_connection is None
    assert settings.storage_table_uri == "https://store1.table.core.windows.net"
    assert settings.storage_queue_uri == "https://store1.queue.core.windows.net"
    (upstream,) = settings.upstreams
    assert (upstream.api_key, upstream.scope) == ("sk-1", "https://ai.azure.com/.default")
    assert upstream.honours_keys
    assert settings.allow_loopback
    assert (settings.deadline_s, settings.retention_s) == (60, 3600)
    assert settings.reply_queues == ("answers", "team-*")
    assert settings.identity_client_id == "id-1"
    assert not upstream.is_background
    assert not settings.watch
    assert settings.console
    assert settings.prices == {"m": Price(1, 2)}
    assert (settings.stream_heartbeat_s, settings.stream_max_s, settings.foreground_hold_s) == (0.5, 230.0, 1.5)
    assert settings.own_hosts == {"127.0.0.1", "localhost", "app.example.com"}


@pytest.mark.parametrize("missing", [*LEAST])
@pytest.mark.parametrize("empty", [True, False])
def test_a_missing_setting_is_named(missing: str, empty: bool) -> None:
    """An empty value counts as missing."""
    environment = {name: value for name, value in LEAST.items() if name != missing}
    with pytest.raises(SettingsError, match=missing):
        load_settings({**environment, missing: ""} if empty else environment)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("UPSTREAM_BASE_URL", wrong)
        for wrong in ("api.example.com", "ftp://x/v1", "https://", "https:///v1", "http://[", "http://x:21v1")
    ]
    + [("UPSTREAM_BASE_URL", wrong) for wrong in ("https://x/v1?key=geheim", "https://x/v1#geheim")]
    + [("UPSTREAM_API_KEY", wrong) for wrong in ("geheim-ключ", "geheim\nx", "geheim\x7f")]
    + [
        ("RESPONSE_DEADLINE_S", wrong)
        for wrong in ("0", "-1", "1.5", "geheim", "604801", "0" * 11 + "1" + "9" * 9, "٣")
    ]
    + [("RETENTION_S", wrong) for wrong in ("0", "315360001", "9" * 5_000)]
    + [
        ("CALLBACK_ALLOW_LOOPBACK", "geheim"),
        ("UPSTREAM_HONOURS_IDEMPOTENCY_KEY", "2"),
        ("WATCH", "off"),
        ("CONSOLE", "on"),
    ]
    + [("STREAM_MAX_S", wrong) for wrong in ("0", "0.04", "-1", "1e3", "geheim", "21000.1")]
    + [("FOREGROUND_HOLD_S", wrong) for wrong in ("0", "95.1", "geheim")]
    + [("STREAM_HEARTBEAT_S", "60.1"), ("UPSTREAM_MODE", "geheim"), ("CALLERS", "geheim")]
    + [("UPSTREAM_WEBHOOK_SECRET", wrong) for wrong in WRONG_SECRETS]
    + [("AzureWebJobsStorage__tableServiceUri", f"{scheme}geheim.table.core.windows.net") for scheme in ("http://", "")]
    + [("AzureWebJobsStorage__queueServiceUri", f"https://{rest}") for rest in ("u:geheim@a.example", "a?sig=geheim")]
    + [("AzureWebJobsStorage__endpointSuffix", wrong) for wrong in ("geheim", "a.example/geheim", "%s.geheim")]
    + [("REQUESTS_CALLER", "geheim")],
)
def test_an_invalid_setting_is_named_and_its_value_is_not_shown(name: str, value: str) -> None:
    """The message names the setting for the deployer. Readers of the log do not see its value."""
    with pytest.raises(SettingsError, match=name) as refused:
        loaded(**{name: value})
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize("name", ["AzureWebJobsStorage", "UPSTREAM_API_KEY", "CALLERS", "UPSTREAM_WEBHOOK_SECRET"])
@pytest.mark.parametrize("text", [UNRESOLVED, f"  {UNRESOLVED}"])
def test_an_unresolved_key_vault_reference_is_refused(name: str, text: str) -> None:
    """The text of a reference is the same everywhere, so anyone could guess it if it were used as a secret."""
    with pytest.raises(SettingsError, match=f"{name} is a Key Vault reference that was not resolved"):
        loaded(**{name: text})


def test_white_space_around_a_key_is_removed() -> None:
    """A secret that was stored from a file ends with a line end, which a header cannot contain."""
    assert loaded(UPSTREAM_API_KEY=" sk-1\n").upstreams[0].api_key == "sk-1"
    assert loaded(UPSTREAM_API_KEY="\n").upstreams[0].api_key is None


@pytest.mark.parametrize(
    ("text", "expected"), [("", False), ("FALSE", False), ("0", False), (" True ", True), ("1", True)]
)
def test_a_switch_is_true_or_false(text: str, expected: bool) -> None:
    """A flag is accepted in the spellings that portals and shells write."""
    assert loaded(CALLBACK_ALLOW_LOOPBACK=text).allow_loopback is expected


@pytest.mark.parametrize(("name", "most"), [("RESPONSE_DEADLINE_S", 604_800), ("RETENTION_S", 315_360_000)])
def test_a_duration_has_bounds(name: str, most: int) -> None:
    """A duration is from one second to a maximum, and both bounds are accepted."""
    for value in (1, most):
        settings = loaded(**{name: f" {value} "})
        assert value in (settings.deadline_s, settings.retention_s)


def test_without_background_mode_a_deadline_is_within_one_invocation() -> None:
    """In foreground mode the run is one upstream call, so it must end before `functionTimeout`."""
    assert loaded(UPSTREAM_MODE="foreground", RESPONSE_DEADLINE_S="21000").deadline_s == 21_000
    with pytest.raises(SettingsError, match="RESPONSE_DEADLINE_S"):
        loaded(UPSTREAM_MODE="foreground", RESPONSE_DEADLINE_S="21001")


def test_queued_requests_belong_to_the_first_caller_by_default() -> None:
    """REQUESTS_CALLER names the caller of queued requests. It is needed only if there are several callers."""
    callers = orjson.dumps([{"name": name, "keys": []} for name in ("ann", "bob")]).decode()
    assert loaded(CALLERS=callers).requests_caller == "ann"
    assert loaded(CALLERS=callers, REQUESTS_CALLER=" bob ").requests_caller == "bob"


def test_the_upstreams_webhooks_may_have_two_secrets() -> None:
    """During a rotation both secrets verify. Without webhooks, no secret is set."""
    assert loaded().upstreams[0].webhook_secrets == ()
    assert loaded(UPSTREAM_WEBHOOK_SECRET=f" raw text of 24 characters ,{SECRET},").upstreams[0].webhook_secrets == (
        "raw text of 24 characters",
        SECRET,
    )


SUFFIX = "AzureWebJobsStorage__endpointSuffix"
TABLE, QUEUE = "AzureWebJobsStorage__tableServiceUri", "AzureWebJobsStorage__queueServiceUri"


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({TABLE: "https://a.table.core.usgovcloudapi.net/"}, "a.{}.core.usgovcloudapi.net"),
        ({QUEUE: "https://a.queue.core.chinacloudapi.cn"}, "a.{}.core.chinacloudapi.cn"),
        ({"AzureWebJobsStorage__accountName": "a"}, "a.{}.core.windows.net"),
        ({"AzureWebJobsStorage__accountName": "a", SUFFIX: "core.chinacloudapi.cn"}, "a.{}.core.chinacloudapi.cn"),
        (
            {"AzureWebJobsStorage__accountName": "a", SUFFIX: "b.example", TABLE: "https://a.table.x.example"},
            "a.{}.x.example",
        ),
        ({TABLE: "https://table.a.example", QUEUE: "https://queue.a.example"}, "{}.a.example"),
        ({"AzureWebJobsStorage__accountName": "b", TABLE: "https://a.table.x.example"}, "a.{}.x.example"),
    ],
)
def test_storage_is_found_in_every_cloud(named: dict[str, str], expected: str) -> None:
    """By the name of an account and the end of its addresses, or by the address of a service. The other one follows."""
    settings = load_settings({**LEAST, "AzureWebJobsStorage": "", **named})
    for kind, uri in (("table", settings.storage_table_uri), ("queue", settings.storage_queue_uri)):
        assert uri == f"https://{expected.format(kind)}"


def test_an_account_with_a_domain_of_its_own_needs_both_addresses() -> None:
    """Nothing says where its other service is."""
    with pytest.raises(SettingsError, match="both"):
        load_settings({**LEAST, "AzureWebJobsStorage": "", TABLE: "https://storage.example.com"})


def test_the_repr_of_the_settings_shows_no_secret() -> None:
    """A repr may end up in a log. It contains neither keys nor connection strings."""
    callers = orjson.dumps([{"name": "ann", "keys": ["00" * 32]}]).decode()
    text = repr(
        loaded(
            UPSTREAM_WEBHOOK_SECRET="geheim" * 4,
            UPSTREAM_API_KEY="sk-geheim",
            AzureWebJobsStorage="AccountKey=geheim",
            CALLERS=callers,
        )
    )
    assert "geheim" not in text
    assert "00" * 32 not in text
    assert "api.example.com" in text
