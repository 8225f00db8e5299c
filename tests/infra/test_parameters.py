"""The values of `azd env set`: what each means, and what ends a deployment before it begins."""

import re
from pathlib import Path
from typing import Any

import pytest

from infra.hooks.regions import MODEL, SKU
from local.stack.process import ROOT
from shared.upstreams.specs import MAX_IN_FLIGHT
from tests.infra import deployment
from tests.infra.compiler import LOCATION, Compiler, Refused, running
from tests.infra.network import network_faults
from tests.infra.parameters import variable
from tests.infra.project import Project, texts, written
from tests.infra.settings import refusals

FILE = ROOT / "infra" / "main.bicepparam"
UPSTREAM = "param upstreamBaseUrl = 'https://res.openai.azure.com/openai/v1'\n"
FOREGROUND = f"{UPSTREAM}param upstreamMode = 'foreground'\n"
GROUP = "/subscriptions/00000000-0000-0000-0000-000000000003/resourceGroups/rg"
NET = f"{GROUP}/providers/Microsoft.Network/virtualNetworks/vnet"
ON = "param vnetEnabled = true\n"
UPSTREAMS = "param upstreams = 'all.json'\n"
SHARE = "param otelTracesSampler = 'traceidratio'\n"
SUBNETS = f"param appSubnetId = '{NET}/subnets/a'\nparam endpointSubnetId = '{NET}/subnets/e'\n"
LOGS = f"param workspaceId = '{GROUP}/providers/Microsoft.OperationalInsights/workspaces/log'\n"
SECRETS = f"param keyVaultId = '{GROUP}/providers/microsoft.keyvault/vaults/kv'\n"


def parts(app: str, endpoints: str, *, whole: str = "10.84.0.0/24") -> str:
    """Return what says the parts of a network."""
    said = {"vnetPrefix": whole, "appSubnetPrefix": app, "endpointSubnetPrefix": endpoints}
    return ON + "".join(f"param {name} = '{value}'\n" for name, value in said.items())


# What is said, and a part of the error that it ends with.
REFUSED = {
    "a deadline of a foreground call": (
        f"{FOREGROUND}param responseDeadlineS = 21001\n",
        "RESPONSE_DEADLINE_S must be",
    ),
    "addresses without a network": ("param operatorIpRanges = '203.0.113.7'\n", "OPERATOR_IP_RANGES needs"),
    "a key without an upstream": ("param upstreamApiKeyInVault = true\n", "UPSTREAM_API_KEY_IN_VAULT needs"),
    "keys without upstreams": (f"{UPSTREAM}param upstreamKeysInVault = true\n", "UPSTREAM_KEYS_IN_VAULT needs"),
    "an upstream without https": ("param upstreamBaseUrl = 'res.openai.azure.com'\n", "UPSTREAM_BASE_URL must be"),
    "an upstream with a query": ("param upstreamBaseUrl = 'https://a.example/v1?x=1'\n", "UPSTREAM_BASE_URL must be"),
    "a role at no account": (f"{UPSTREAM}param upstreamResourceId = 'res'\n", "UPSTREAM_RESOURCE_ID must be /sub"),
    "a role at a storage account": (
        f"{UPSTREAM}param upstreamResourceId = '{GROUP}/providers/Microsoft.Storage/storageAccounts/res'\n",
        "UPSTREAM_RESOURCE_ID must be /subscriptions/ID/",
    ),
    "a role at nobody's upstream": (
        f"param upstreamResourceId = '{GROUP}/providers/Microsoft.CognitiveServices/accounts/res'\n",
        "UPSTREAM_RESOURCE_ID needs UPSTREAM_BASE_URL or UPSTREAMS",
    ),
    "a model beside an upstream": (f"{UPSTREAM}param modelName = 'gpt-5'\n", "MODEL_CAPACITY do nothing"),
    "quota beside upstreams": (f"{UPSTREAMS}param modelCapacity = 60\n", "MODEL_CAPACITY do nothing"),
    "a mode of no upstream": (f"{UPSTREAMS}param upstreamMode = 'foreground'\n", "UPSTREAM_MODE, UPSTREAM_SCOPE"),
    "a limit of no upstream": (f"{UPSTREAMS}param upstreamMaxInFlight = '7'\n", "UPSTREAM_MODE, UPSTREAM_SCOPE"),
    "a queue that storage refuses": ("param replyQueues = 'answers,Nudges'\n", "REPLY_QUEUES must be names of queues"),
    "a price that is none": ("param prices = 'gpt-5'\n", "PRICES must be MODEL=INPUT/CACHED/OUTPUT"),
    "a module that is none": ("param agentsModule = 'a b'\n", "AGENTS_MODULE must be the name of a module"),
    "a limit of nothing": ("param upstreamMaxInFlight = '0'\n", "UPSTREAM_MAX_IN_FLIGHT must be"),
    "more than the highest limit": (f"param upstreamMaxInFlight = '{MAX_IN_FLIGHT + 1}'\n", "UPSTREAM_MAX_IN_FLIGHT"),
    "a limit in words": ("param upstreamMaxInFlight = 'two'\n", "UPSTREAM_MAX_IN_FLIGHT must be"),
    "a model that is not made": (f"{UPSTREAM}param modelRecover = true\n", "MODEL_RECOVER needs"),
    "more than all traces": (f"{SHARE}param otelTracesSamplerArg = '10'\n", "OTEL_TRACES_SAMPLER_ARG must be"),
    "a share in words": (f"{SHARE}param otelTracesSamplerArg = '0.x'\n", "OTEL_TRACES_SAMPLER_ARG must be"),
    "a share of all traces": ("param otelTracesSamplerArg = '0.5'\n", "ARG needs OTEL_TRACES_SAMPLER=traceidratio"),
    "a network without room": (f"{ON}param vnetPrefix = '10.1.0.0/26'\n", "VNET_PREFIX must be a /25"),
    "no network at all": (f"{ON}param vnetPrefix = '10.1.0.0'\n", "VNET_PREFIX must be a network such as"),
    "a network from its middle on": (f"{ON}param vnetPrefix = '10.1.0.9/24'\n", "10.1.0.9/24 is not"),
    "addresses of no network": ("param vnetPrefix = '10.1.0.0/24'\n", "ENDPOINT_SUBNET_PREFIX need VNET_ENABLED=true"),
    "a part of no network": ("param appSubnetPrefix = '10.84.0.0/26'\n", "SUBNET_PREFIX need VNET_ENABLED=true"),
    "one part of a network": (
        f"{ON}param vnetPrefix = '10.0.0.0/23'\nparam appSubnetPrefix = '10.0.0.0/24'\n",
        "APP_SUBNET_PREFIX and ENDPOINT_SUBNET_PREFIX must be set together",
    ),
    "the other part of a network": (f"{ON}param endpointSubnetPrefix = '10.84.0.0/26'\n", "must be set together"),
    "an app outside of its network": (parts("10.99.0.0/26", "10.84.0.64/27"), "APP_SUBNET_PREFIX must be a part of"),
    "endpoints outside of their network": (parts("10.84.0.0/26", "10.84.1.0/27"), "ENDPOINT_SUBNET_PREFIX must be a"),
    "a part around its network": (parts("10.84.0.0/23", "10.84.0.64/27"), "APP_SUBNET_PREFIX must be a part of"),
    "parts that overlap": (parts("10.84.0.0/25", "10.84.0.64/27"), "must not overlap"),
    "an app within the endpoints": (parts("10.84.0.64/27", "10.84.0.0/25"), "must not overlap"),
    "a part that is none": (parts("10.84.0.0/26", "10.84.0.64"), "ENDPOINT_SUBNET_PREFIX must be a part of"),
    "a part from its middle on": (parts("10.84.0.3/26", "10.84.0.64/27"), "and 10.84.0.3/26 is not"),
    "too small a part for the app": (parts("10.84.0.0/28", "10.84.0.64/27"), "a /27 or larger"),
    "too small a part for endpoints": (parts("10.84.0.0/26", "10.84.0.64/29"), "a /28 or larger"),
    "too few instances": ("param maximumInstanceCount = 1\n", "allowable value is 40"),
    "a tag without a value": ("param resourceTags = 'a=1,b'\n", "RESOURCE_TAGS must be NAME=VALUE,…, and b is not"),
    "a tag that is set here": ("param resourceTags = 'AZD-Env-Name=x'\n", "must not have AZD-Env-Name"),
    "a tag that storage refuses": ("param resourceTags = 'a?=1'\n", "RESOURCE_TAGS has a tag a?"),
    "a tag with a long value": (f"param resourceTags = 'a={'v' * 257}'\n", "a value at most 256"),
    "one tag twice": ("param resourceTags = 'a=1,A=2'\n", "duplicate key 'A'"),
    "too many tags": (f"param resourceTags = '{','.join(f't{n}=1' for n in range(48))}'\n", "at most 47 tags"),
    "too many tags for a zone": (
        f"{ON}param resourceTags = '{','.join(f't{n}=1' for n in range(14))}'\n",
        "at most 13 tags where private DNS zones are made",
    ),
    "a name of nothing": ("param resourceNames = 'bus=x'\n", "and not bus"),
    "an empty name": ("param resourceNames = 'app='\n", "and not app or nothing"),
    "a name of a network that is not there": ("param resourceNames = 'network=x'\n", "and not network"),
    "a name that is too long": (f"param resourceNames = 'app={'a' * 33}'\n", "less than or equal to '32'"),
    "one subnet of two": (f"{ON}param appSubnetId = '{NET}/subnets/a'\n", "must be set together"),
    "one subnet for both": (
        f"{ON}param appSubnetId = '{NET}/subnets/a'\nparam endpointSubnetId = '{NET}/subnets/A'\n",
        "must be set together, to two subnets",
    ),
    "subnets without a network": (SUBNETS, "need VNET_ENABLED=true"),
    "subnets that are there and addresses": (f"{ON}{SUBNETS}param vnetPrefix = '10.1.0.0/24'\n", "VNET_PREFIX, APP_"),
    "a subnet that is none": (
        f"{ON}param appSubnetId = '{NET}'\nparam endpointSubnetId = '{NET}/subnets/e'\n",
        "APP_SUBNET_ID must be /subscriptions/ID/",
    ),
    "zones without a network": ("param privateDnsZones = 'policy'\n", "PRIVATE_DNS_ZONES needs VNET_ENABLED=true"),
    "zones that are none": (f"{ON}param privateDnsZones = 'privatelink.blob'\n", "PRIVATE_DNS_ZONES must be policy"),
    "two groups of zones": (f"{ON}param privateDnsZones = '{GROUP},{GROUP}2'\n", "at most one resource group"),
    "a zone that is missing": (
        f"{ON}param privateDnsZones = '{GROUP}/providers/Microsoft.Network/privateDnsZones/privatelink.blob.x'\n",
        "PRIVATE_DNS_ZONES has no zone privatelink.queue",
    ),
    "an app that nobody could reach": ("param privateInbound = true\n", "PRIVATE_INBOUND needs VNET_ENABLED=true"),
    "a key that is none": (
        f"param customerKeyId = '{GROUP}/providers/Microsoft.KeyVault/vaults/kv'\n",
        "NAME/providers/Microsoft.KeyVault/vaults/NAME/keys/NAME",
    ),
    "a key by its address": ("param customerKeyId = 'https://kv.vault.azure.net/keys/k'\n", "CUSTOMER_KEY_ID must be"),
    "a region without Flex Consumption": ("param location = 'germanynorth'\n", "'germanynorth'"),
    "a workspace that is none": (f"param workspaceId = '{GROUP}'\n", "WORKSPACE_ID must be /subscriptions/ID/"),
    "days of a workspace that is there": (f"{LOGS}param logRetentionDays = 90\n", "LOG_RETENTION_DAYS and LOG_DAILY"),
    "a limit of a workspace that is there": (f"{LOGS}param logDailyLimitGb = 9\n", "LOG_RETENTION_DAYS and LOG_DAILY"),
    "a vault that is none": (
        "param keyVaultId = 'https://kv.vault.azure.net'\n",
        "KEY_VAULT_ID must be /sub",
    ),
    "recovery of a vault that is there": (f"{SECRETS}param vaultRecover = true\n", "do nothing where KEY_VAULT_ID"),
    "addresses of a vault that is there": (
        f"{ON}{SECRETS}param operatorIpRanges = '203.0.113.7'\n",
        "do nothing where KEY_VAULT_ID",
    ),
    "a name of a vault that is there": (f"{SECRETS}param resourceNames = 'vault=x'\n", "and not vault"),
    "too small instances": ("param instanceMemoryMB = 512\n", "2048 | 4096"),
}
TAKEN = {
    "the longest deadline of a foreground call": f"{FOREGROUND}param responseDeadlineS = 21000\n",
    "a long deadline in background mode": f"{UPSTREAM}param responseDeadlineS = 604800\n",
    "the highest limit": f"param upstreamMaxInFlight = '{MAX_IN_FLIGHT}'\n",
    "a tenth of all traces": f"{SHARE}param otelTracesSamplerArg = '0.1'\n",
    "a key of one of several upstreams": "param upstreams = 'all.json'\nparam upstreamApiKeyInVault = true\n",
    "a tag of the longest name and an empty value": f"param resourceTags = '{'n' * 128}='\n",
    "as many tags as a zone takes": f"{ON}param resourceTags = 'a b=1,{','.join(f't{n}=1' for n in range(13))}'\n",
    "as many tags as there are": (
        f"{ON}param privateDnsZones = 'policy'\nparam resourceTags = '{','.join(f't{n}=1' for n in range(47))}'\n"
    ),
    "all that is there": f"{ON}{SUBNETS}{LOGS}{SECRETS}param privateDnsZones = '{GROUP}'\n",
    "subnets of one's own": parts("10.1.0.64/26", "10.1.0.32/28", whole="10.1.0.0/25"),
    "subnets in another order, at the end": parts("10.1.63.0/24", "10.1.62.0/24", whole="10.1.32.0/19"),
    "the smallest network": f"{ON}param vnetPrefix = '192.168.1.128/25'\n",
    "a port and a path": "param upstreamBaseUrl = 'http://vllm-0.internal:8000/openai/v1'\n",
    "a module in a package": "param agentsModule = 'desk_2._staff'\n",
    "prices with blanks": "param prices = ' gpt-5 = 1.25/0.125/10, a=b=0/2,,GPT-5=3/4 '\n",
    "a caller of queued requests": "param requestsCaller = 'batch jobs, \u00e4lter'\n",
    "queues and patterns": "param replyQueues = 'a-1, results-*, *,X*'\n",
    "the model by its name": f"{UPSTREAM}param modelName = 'gpt-5-mini'\nparam modelVersion = ''\n",
    "a mode of the upstream beside a list": f"{UPSTREAMS}{FOREGROUND}",
}


def evaluated(folder: Path, compiler: Compiler, said: str) -> dict[str, Any]:
    """Evaluate a deployment to which this is said, beside what it needs."""
    written(texts(), folder)
    path = folder / "infra" / "said.bicepparam"
    least = "using 'main.bicep'\n\nparam environmentName = 'prod'\n"
    least += "" if "param location" in said else "param location = 'swedencentral'\n"
    path.write_text(least + said, encoding="utf-8")
    compiler.parameters(path)
    return compiler.snapshot(path)


@pytest.mark.parametrize(("said", "error"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_work_ends_before_it_begins(said: str, error: str, tmp_path: Path, compiler: Compiler) -> None:
    """A deployment that the app would refuse, or a value that would do nothing, is an error that names the variable."""
    with pytest.raises(Refused, match=re.escape(error)):
        evaluated(tmp_path, compiler, said)


@pytest.mark.parametrize("said", TAKEN.values(), ids=TAKEN)
def test_what_is_allowed_is_not_refused(said: str, tmp_path: Path, compiler: Compiler) -> None:
    """The values beside those that are refused are taken. What they make is a network that is one, and is run by."""
    snapshot = evaluated(tmp_path, compiler, said)
    given = compiler.parameters(tmp_path / "infra" / "said.bicepparam")
    found = deployment.evaluated("said", snapshot, given)
    assert list(network_faults(found)) == []
    assert list(refusals(found)) == []


def test_an_empty_model_is_the_default_one(tmp_path: Path, compiler: Compiler) -> None:
    """Azd cannot take a value away, so an empty one stands for that, as for the hook that looks at the quota."""
    snapshot = evaluated(tmp_path, compiler, "param modelName = ''\nparam modelSku = ''\n")
    found = deployment.evaluated("said", snapshot, {}).one("Microsoft.CognitiveServices/accounts/deployments")
    assert (found.name, found.at("properties.model.name"), found.at("sku.name")) == (MODEL, MODEL, SKU)


def test_a_value_of_another_kind_is_an_error() -> None:
    """Azd takes the default for it without a word, where parameters are in JSON. Then storage would be open."""
    wrong = {"VNET_ENABLED": "yes", "HTTP_CONCURRENCY": "many", "WATCH": "", "INSTANCE_MEMORY_MB": "2 GB"}
    with running(**wrong) as compiler, pytest.raises(Refused) as refused:
        compiler.parameters(FILE)
    named = set(re.findall(r'Failed to evaluate parameter "(\w+)"', str(refused.value)))
    assert {variable(name) for name in named} == wrong.keys()


def test_nothing_set_means_the_defaults(real: Project) -> None:
    """Without variables, each parameter has its default from the Bicep, of its own kind."""
    declared = real.compiled.template["parameters"]
    defaults = {name: one["defaultValue"] for name, one in declared.items() if "defaultValue" in one}
    given = real.compiler.parameters(FILE)
    assert given == {**defaults, "environmentName": "prod", "location": LOCATION}
