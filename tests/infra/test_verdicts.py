"""What an answer of the service shows: a missing role, a wrong key, a wrong name, a closed network."""

from typing import Any

import pytest

from infra.hooks.served import API_KEY, Served
from infra.hooks.verdicts import Facts, facts, judged

AZURE, OPENAI = "https://res.openai.azure.com/openai/v1", "https://api.openai.com/v1"
BY_ROLE = Facts("gpt-5", Served(AZURE, "UPSTREAM_BASE_URL", AZURE, ""), "/subscriptions/s/x", "principal")
BY_KEY = Facts("gpt-5", Served(OPENAI, "UPSTREAM_BASE_URL", OPENAI, API_KEY), "", "principal")
KEYLESS = facts({"UPSTREAM_BASE_URL": OPENAI, "FIRST_MODEL": "gpt-5"}, None)
OTHER_SCOPE = facts({"UPSTREAM_BASE_URL": OPENAI, "UPSTREAM_SCOPE": "api://x/.default", "FIRST_MODEL": "gpt-5"}, None)
GATEWAY = facts({"UPSTREAM_BASE_URL": "https://x.azure-api.net:443/openai/v1", "FIRST_MODEL": "gpt-5"}, None)
FILE = "upstreams.json"
SEVERAL: dict[str, str] = {"UPSTREAMS": FILE, "UPSTREAM_KEYS_IN_VAULT": "true", "FIRST_MODEL": "gpt-5"}
BY_MEMBER = facts(SEVERAL, [{"name": "vllm", "key_setting": "VLLM_KEY", "base_url": "https://v.example/v1"}])
UNREAD = facts(SEVERAL, None)
OF_SEVERAL = f"the upstream of 'gpt-5' in {FILE}"
# Refusals in the words of Azure OpenAI and OpenAI. Where each was found:
NO_DEPLOYMENT = (
    "DeploymentNotFound",
    "The API deployment for this resource does not exist. If you created it lately, wait.",
)
NO_MODEL = ("model_not_found", "The model `gpt-5` does not exist or you do not have access to it.")
FIREWALL = ("403", "Access denied due to Virtual Network/Firewall rules.")  # Azure-Samples/azure-sql-db-chatbot#3
WRONG_ENDPOINT = ("403", "A Virtual Network is configured for this resource. Please use the correct endpoint.")
PRIVATE = ("403", "Public access is disabled. Please configure private endpoint.")  # TabularEditor/TabularEditor3#1557
NO_ACTION = ("PermissionDenied", "The principal `x` lacks the required data action `Microsoft.CognitiveServices/a`.")
NO_ACCESS = ("PermissionDenied", "Principal does not have access to API/Operation.")  # MicrosoftDocs/azure-docs#114370
NO_KEYS = ("AuthenticationTypeDisabled", "Key based authentication is disabled for this resource.")
NO_BACKGROUND = ("unsupported_parameter", "Unsupported parameter: 'background'.")
ACCOUNT = "/subscriptions/s/resourceGroups/g/providers/Microsoft.CognitiveServices/accounts/Res"
REFUSALS = [
    (404, NO_DEPLOYMENT, BY_ROLE, "Wrong deployment name"),
    (404, NO_MODEL, BY_KEY, "Wrong deployment name"),
    (400, NO_MODEL, BY_KEY, "Wrong deployment name"),
    (403, FIREWALL, BY_ROLE, "Closed network"),
    (403, FIREWALL, BY_KEY, "Closed network"),
    (403, WRONG_ENDPOINT, BY_ROLE, "Closed network"),
    (403, PRIVATE, BY_KEY, "Closed network"),
    (403, NO_ACTION, BY_ROLE, "Missing role"),
    (403, NO_ACCESS, BY_ROLE, "Missing role"),
    (403, ("403", "Forbidden"), BY_ROLE, "Missing role"),
    (403, ("403", "Forbidden"), BY_KEY, "Wrong key"),
    (403, ("403", "Forbidden"), BY_MEMBER, f"Wrong key: {OF_SEVERAL} refuses 'VLLM_KEY' in the vault's upstream-keys."),
    (403, ("403", "Forbidden"), UNREAD, f"Wrong key: {OF_SEVERAL} refuses the vault's upstream-keys."),
    (403, NO_KEYS, BY_KEY, f"Wrong key: {OPENAI} takes none. `azd env set UPSTREAM_API_KEY_IN_VAULT false`"),
    (403, NO_KEYS, BY_MEMBER, f"Wrong key: {OF_SEVERAL} takes none. Take the key out of its entry in {FILE}"),
    (404, NO_MODEL, BY_MEMBER, f"Wrong deployment name: {OF_SEVERAL} has no 'gpt-5'."),
    (404, NO_MODEL, facts(SEVERAL, []), f"Wrong deployment name: {FILE} has no 'gpt-5'."),
    (
        403,
        FIREWALL,
        BY_MEMBER,
        f"Closed network: {OF_SEVERAL}: it lets no one in from the app's network. Check the name in {FILE},",
    ),
    (400, ("invalid_request_error", "Unsupported parameter"), BY_KEY, "The upstream refuses the request: Unsupported"),
    (403, ("403", "Forbidden"), KEYLESS, f"No key: {OPENAI} refuses the app's Entra token"),
    (403, ("403", "Forbidden"), OTHER_SCOPE, "Missing role"),
    (400, NO_BACKGROUND, BY_KEY, f"No background mode: {OPENAI} refuses `background`. `azd env set UPSTREAM_MODE"),
    (400, NO_BACKGROUND, BY_MEMBER, f"No background mode: {OF_SEVERAL} refuses `background`. Give its entry in {FILE}"),
    (400, ("x", "No foreground, backgrounds"), BY_KEY, "The upstream refuses the request: No foreground"),
]
WAITS = [
    ("credentials", "status 401", 1, BY_KEY, "Wrong key", True),
    ("credentials", "status 401", 1, BY_MEMBER, f"Wrong key: {OF_SEVERAL} refuses 'VLLM_KEY'", True),
    ("credentials", "status 401", 1, UNREAD, f"Wrong key: {OF_SEVERAL} refuses the vault's upstream-keys", True),
    ("credentials", "status 401", 1, facts(SEVERAL, [{}]), f"Missing role: {OF_SEVERAL} refuses", False),
    ("credentials", "status 401", 1, KEYLESS, "No key: ", True),
    ("credentials", "status 401", 1, facts(SEVERAL, [{"base_url": OPENAI}]), f"No key: {OF_SEVERAL} refuses", True),
    ("credentials", "status 401", 1, OTHER_SCOPE, "Missing role", False),
    ("credentials", "status 401", 1, GATEWAY, "Missing role", False),
    ("credentials", "status 401", 9, BY_ROLE, "Missing role", False),
    ("credentials", "no credential for the upstream", 1, BY_ROLE, "Missing role", False),
    ("upstream_down", "ConnectError", 1, BY_ROLE, "Closed network", False),
    ("upstream_down", "ConnectTimeout", 3, BY_ROLE, "Closed network", True),
    ("upstream_down", "status 503", 3, BY_ROLE, "The upstream is in trouble: status 503", True),
    ("turn", "", 0, BY_ROLE, "The request waits: turn", False),
]


@pytest.mark.parametrize(("status", "error", "known", "begins"), REFUSALS)
def test_a_refusal_is_told_apart(status: int, error: tuple[str, str], known: Facts, begins: str) -> None:
    """It is final, whether it is the answer to the request or the end of its response."""
    told = {"code": error[0], "message": error[1]}
    at_once = judged(status, {"error": told}, known)
    assert (at_once.is_good, at_once.is_final) == (False, True)
    assert at_once.text.startswith(begins)
    assert judged(200, {"status": "failed", "error": told}, known) == at_once


@pytest.mark.parametrize(("reason", "detail", "tries", "known", "begins", "is_final"), WAITS)
def test_what_a_response_waits_for_is_told_apart(
    reason: str, detail: str, tries: int, known: Facts, begins: str, is_final: bool
) -> None:
    """A role may still arrive, and a network may have had a bad second. A wrong key stays wrong."""
    wait = {"reason": reason, "detail": detail, "tries": tries}
    found = judged(200, {"status": "queued", "waiting": wait}, known)
    assert found.text.startswith(begins)
    assert (found.is_good, found.is_final) == (False, is_final)


@pytest.mark.parametrize("status", ["completed", "incomplete"])
def test_an_answer_of_the_upstream_is_good(status: str) -> None:
    """Few tokens are asked for, so the answer may be cut. It is one all the same."""
    found = judged(200, {"status": status}, BY_ROLE)
    assert (found.is_good, found.is_final) == (True, True)


def test_a_spent_quota_is_no_fault_of_the_deployment() -> None:
    """The upstream knows the app, and has no quota left for now."""
    assert judged(200, {"status": "queued", "waiting": {"reason": "rate_limit"}}, BY_ROLE).is_good


@pytest.mark.parametrize(
    ("found", "who"), [({"error": {"code": "invalid_api_key"}}, "The app does not know the key"), ({}, "Entra")]
)
def test_a_key_and_a_token_are_told_apart(found: dict[str, Any], who: str) -> None:
    """The app's own 401 has a code. One without it is from Entra, in front of the app."""
    assert judged(401, found, BY_ROLE).text.startswith(who)


@pytest.mark.parametrize("status", [0, 429, 503])
def test_a_service_that_starts_is_asked_again(status: int) -> None:
    """The first seconds after a deployment may bring a 503 or no answer."""
    assert not judged(status, {}, BY_ROLE).is_final


def test_every_text_says_what_to_do() -> None:
    """A missing role comes with the whole command, and a wrong name with the one that sets another."""
    role = judged(403, {"error": {"code": NO_ACTION[0], "message": NO_ACTION[1]}}, BY_ROLE).text
    assert "az role assignment create --assignee-object-id principal" in role
    assert role.endswith("--scope /subscriptions/s/x")
    name = judged(404, {"error": {"code": NO_MODEL[0], "message": NO_MODEL[1]}}, BY_ROLE).text
    assert "azd env set FIRST_MODEL" in name


def test_the_model_is_the_one_that_was_deployed_unless_another_is_named() -> None:
    """An upstream elsewhere has names that nobody here knows."""
    assert facts({"MODEL_DEPLOYMENT": "gpt-5-mini"}, None).model == "gpt-5-mini"
    assert facts({"MODEL_DEPLOYMENT": "gpt-5-mini", "FIRST_MODEL": "mine"}, None).model == "mine"
    assert facts({}, None).model == ""


@pytest.mark.parametrize(("url", "scope"), [("https://res.openai.azure.com/openai/v1", ACCOUNT), (OPENAI, "")])
def test_a_role_is_for_the_upstream_that_refuses(url: str, scope: str) -> None:
    """Of several upstreams, only one has the resource id that was given. A role there mends no other."""
    environment = {"UPSTREAMS": FILE, "FIRST_MODEL": "gpt-5", "UPSTREAM_RESOURCE_ID": ACCOUNT}
    known = facts(environment, [{"base_url": url}])
    assert known.resource_id == scope
    refusal = judged(403, {"error": {"code": NO_ACTION[0], "message": NO_ACTION[1]}}, known)
    assert refusal.text.endswith(f"--scope {scope or 'RESOURCE_ID_OF_THE_UPSTREAM'}")
