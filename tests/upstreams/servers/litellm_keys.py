"""The keys of LiteLLM's proxy, for its own process. Each belongs to a user of a team, as keys from its database do."""

from litellm.proxy._types import UserAPIKeyAuth

KEY = "sk-of-a-team"


async def authenticate(_request: object, api_key: str) -> UserAPIKeyAuth:
    """Return whose key it is. Raise PermissionError if nobody has it."""
    if api_key != KEY:
        raise PermissionError("unknown key")
    user, team = "3f0c3c2e-5c1d-4d43-9d58-6d1c7a1f0b11", "9a1b3c2e-5c1d-4d43-9d58-6d1c7a1f0b22"
    return UserAPIKeyAuth(api_key=api_key, user_id=user, team_id=team)
