"""The way by which the simulated model tells a host of this machine that work has ended."""

from dataclasses import dataclass, field

from local.credentials.keys import new_signing_secret


@dataclass(frozen=True)
class Hook:
    """The host that is told, and the secret that it shares with the model."""

    host_url: str
    secret: str = field(default_factory=new_signing_secret, repr=False)

    @property
    def flags(self) -> list[str]:
        """What the model is started with."""
        return ["--webhook-url", f"{self.host_url}/webhooks/upstream", "--webhook-secret", self.secret]

    @property
    def settings(self) -> dict[str, str]:
        """What the host is started with."""
        return {"UPSTREAM_WEBHOOK_SECRET": self.secret}
