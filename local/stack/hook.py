"""The webhooks that the simulated model sends to a host on this machine when work has ended."""

from dataclasses import dataclass, field

from local.credentials.keys import new_signing_secret


@dataclass(frozen=True)
class Hook:
    """The host that receives the webhooks, and the secret that it shares with the model."""

    host_url: str
    secret: str = field(default_factory=new_signing_secret, repr=False)

    @property
    def flags(self) -> list[str]:
        """The command-line flags of the model."""
        return ["--webhook-url", f"{self.host_url}/webhooks/upstream", "--webhook-secret", self.secret]

    @property
    def settings(self) -> dict[str, str]:
        """The settings of the host."""
        return {"UPSTREAM_WEBHOOK_SECRET": self.secret}
