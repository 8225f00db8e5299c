"""What an answer of the service shows about the upstream, and what to do about it.

The words are those of Azure OpenAI and of OpenAI. Codes go before words, because words change.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.hooks.served import Served, served

TRIES = 3  # of the service, after which an upstream that cannot be reached is no accident
ROLE = "Cognitive Services OpenAI User"
_ENDED = frozenset({"completed", "incomplete"})  # incomplete: the answer is cut at the few tokens that are asked for
_TROUBLE = frozenset({0, 429, 500, 502, 503, 504})  # of the service
_NO_MODEL = re.compile(
    r"DeploymentNotFound|model_not_found|deployment.{0,80}does not exist|model.{0,80}(not exist|not found)"
)
_CLOSED = re.compile(
    r"virtual network|firewall|public access|private endpoint|cogsvc-vnet|network access", re.IGNORECASE
)
_NO_ROLE = re.compile(r"PermissionDenied|lacks the required|does not have access to|AuthorizationFailed")
_BACKGROUND = re.compile("(?<![a-z])background(?![a-z])", re.IGNORECASE)  # as shared/upstreams/tries.py has it
_HOST = re.compile(r"https?://([^/:?#]+)", re.IGNORECASE)
# Hosts of Azure, at which a role may let the app in, if only later.
_AZURES = (".azure.com", ".azure-api.net", ".microsoft.com", ".azure.us", ".azure.cn")
_KEYS_ARE_OFF = re.compile(r"AuthenticationTypeDisabled|key.based authentication is disabled", re.IGNORECASE)


@dataclass(frozen=True)
class Facts:
    """What is known of the deployment: the model to ask for, and the upstream that serves it.

    `resource_id` is that of the upstream, or empty if nobody has named it.
    """

    model: str
    upstream: Served
    resource_id: str
    principal_id: str


@dataclass(frozen=True)
class Verdict:
    """What an answer shows. `is_final` says that no later answer can show anything else."""

    is_good: bool
    text: str
    is_final: bool = True


def facts(environment: Mapping[str, str], upstreams: "Sequence[Mapping[str, Any]] | None") -> Facts:
    """Return what azd's environment says of the deployment.

    `upstreams` are those of the file that UPSTREAMS names, or None if nobody can read it.
    """
    model = environment.get("FIRST_MODEL") or environment.get("MODEL_DEPLOYMENT", "")
    upstream = served(model, environment, upstreams)
    return Facts(
        model=model,
        upstream=upstream,
        resource_id=_resource(environment.get("UPSTREAM_RESOURCE_ID", ""), upstream),
        principal_id=environment.get("APP_IDENTITY_PRINCIPAL_ID", "PRINCIPAL"),
    )


def _resource(given: str, upstream: Served) -> str:
    """Return the resource id that was given if it is this upstream's. Of several, it may be another one's."""
    account = given.rpartition("/")[2].lower()
    is_its = upstream.place == "UPSTREAM_BASE_URL" or f"//{account}." in upstream.url.lower()
    return given if is_its else ""


def judged(status: int, found: Mapping[str, Any], known: Facts) -> Verdict:
    """Return what an answer of the service shows. `found` is a response, or an error."""
    if status == 401:
        return unknown_caller(found)
    if status in _TROUBLE:
        return Verdict(False, f"The service answers {status}: {_message(found)}", is_final=False)
    if status >= 400 or found.get("status") == "failed":
        return refused(status, found.get("error"), known)
    if isinstance(wait := found.get("waiting"), dict):
        return waiting(wait, known)
    return under_way(str(found.get("status")), known)


def under_way(state: str, known: Facts) -> Verdict:
    """Return what the status of a response shows that neither has failed nor waits."""
    if state in _ENDED:
        return Verdict(True, f"The upstream has answered a request for '{known.model}'.")
    if state == "in_progress":
        return Verdict(True, f"The upstream works on a request for '{known.model}'.", is_final=False)
    return Verdict(False, "The request has not reached the upstream yet.", is_final=False)


def unknown_caller(found: Mapping[str, Any]) -> Verdict:
    """Return who does not know the caller: the app, whose error has a code, or Entra in front of it."""
    error = found.get("error")
    if isinstance(error, dict) and error.get("code") == "invalid_api_key":
        return Verdict(False, "The app does not know the key in the file: the vault has other callers by now.")
    return Verdict(False, "Entra in front of the app refuses the token of whoever is signed in to azd.")


def refused(status: int, error: object, known: Facts) -> Verdict:
    """Return what a refusal of the upstream shows. The order matters: a closed network says 403, as a missing role."""
    given = error if isinstance(error, dict) else {}
    said = f"{given.get('code')} {given.get('message')}"
    if _NO_MODEL.search(said) or (status == 404 and not given):
        return Verdict(False, no_model(known))
    if _CLOSED.search(said):
        return Verdict(False, closed("it lets no one in from the app's network", known))
    if _KEYS_ARE_OFF.search(said):
        return Verdict(False, no_keys(known))
    if _NO_ROLE.search(said) or "403" in (str(status), str(given.get("code"))):
        return Verdict(False, _unknown_app(known, said))
    if _BACKGROUND.search(f"{given.get('param')} {said}"):
        return Verdict(False, no_background(known))
    return Verdict(False, f"The upstream refuses the request: {_message({'error': given})}")


def waiting(wait: Mapping[str, Any], known: Facts) -> Verdict:
    """Return what a response shows that waits. A role arrives by itself, and a key or a network does not."""
    reason, detail, tries = wait.get("reason"), wait.get("detail") or "no answer", wait.get("tries") or 0
    if reason == "credentials":
        return Verdict(False, _unknown_app(known), is_final=bool(known.upstream.key) or wants_a_key(known))
    if reason == "upstream_down" and not str(detail).startswith("status "):
        return Verdict(False, closed(f"it cannot be reached ({detail})", known), tries >= TRIES)
    if reason == "upstream_down":
        return Verdict(False, f"The upstream is in trouble: {detail}.", tries >= TRIES)
    if reason == "rate_limit":
        return Verdict(True, "The upstream takes the app's calls, and has no quota left for now.")
    return Verdict(False, f"The request waits: {reason}.", is_final=False)


def wants_a_key(known: Facts) -> bool:
    """Return whether only a key can let the app in: nobody speaks of a role or a scope, and the host is not Azure's."""
    host = _HOST.match(known.upstream.url)
    is_azure = host is None or f".{host[1].lower()}".endswith(_AZURES)
    return not (known.upstream.key or known.resource_id or known.upstream.scope or is_azure)


def _unknown_app(known: Facts, said: str = "") -> str:
    """Return what to do about an upstream that refuses who calls it. Words of Azure are about roles at any host."""
    if known.upstream.key:
        return wrong_key(known)
    return no_key(known) if wants_a_key(known) and not _NO_ROLE.search(said) else no_role(known)


def no_model(known: Facts) -> str:
    """Return what to do about a name that the upstream does not have."""
    return (
        f"Wrong deployment name: {known.upstream.called} has no '{known.model}'. Azure OpenAI wants the name of the"
        f" deployment, and not of the model. `azd env set FIRST_MODEL NAME`, then `azd hooks run postdeploy`."
    )


def no_role(known: Facts) -> str:
    """Return what to do about a role that the app's identity lacks."""
    scope = known.resource_id or "RESOURCE_ID_OF_THE_UPSTREAM"
    return (
        f"Missing role: {known.upstream.called} refuses the app's identity. New roles take minutes. If this one is not"
        f" given: az role assignment create --assignee-object-id {known.principal_id} --assignee-principal-type"
        f' ServicePrincipal --role "{ROLE}" --scope {scope}'
    )


def wrong_key(known: Facts) -> str:
    """Return what to do about a key that the upstream refuses."""
    return (
        f"Wrong key: {known.upstream.called} refuses {known.upstream.key}. Write another one, and refresh:"
        " docs/operations.md, 'Keys and secrets'."
    )


def no_key(known: Facts) -> str:
    """Return what to do about an upstream that takes keys, and gets a token."""
    mend = _by_place(
        known,
        "`azd env set UPSTREAM_API_KEY_IN_VAULT true`, then `azd provision`, which asks for the key",
        "Give its entry in {} a `key_setting`: docs/upstreams.md, 'Several upstreams'",
    )
    return f"No key: {known.upstream.called} refuses the app's Entra token, and is no host of Azure. {mend}."


def no_background(known: Facts) -> str:
    """Return what to do about an upstream that has no background mode."""
    mend = _by_place(
        known,
        "`azd env set UPSTREAM_MODE foreground`, then `azd provision`",
        'Give its entry in {} `"mode": "foreground"`, then `azd deploy`',
    )
    return f"No background mode: {known.upstream.called} refuses `background`. {mend}."


def no_keys(known: Facts) -> str:
    """Return what to do about an upstream that takes tokens only."""
    mend = _by_place(
        known,
        "`azd env set UPSTREAM_API_KEY_IN_VAULT false`, then `azd provision`",
        "Take the key out of its entry in {}, then `azd deploy`",
    )
    return f"Wrong key: {known.upstream.called} takes none. {mend}."


def _by_place(known: Facts, of_setting: str, of_entry: str) -> str:
    """Return what to do where the upstream is a setting, or an entry of a file, whose name replaces `{}`."""
    place = known.upstream.place
    return of_setting if place == "UPSTREAM_BASE_URL" else of_entry.format(place)


def closed(why: str, known: Facts) -> str:
    """Return what to do about a network that is closed between the app and the upstream."""
    return (
        f"Closed network: {known.upstream.called}: {why}. Check the name in {known.upstream.place}, let the app's"
        " addresses into the upstream's firewall, or give the app's network (VNET_ENABLED) a private endpoint and its"
        " DNS zone."
    )


def _message(found: Mapping[str, Any]) -> str:
    error = found.get("error")
    text = error.get("message") if isinstance(error, dict) else None
    return str(text or "no reason is given")[:300]
