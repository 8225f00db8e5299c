"""The requests that were sent by queue: which are answered, and which messages are still on their queue."""

from local.chaos.load.ledger import Json
from local.chaos.load.queue_sender import correlation, hidden_requests, replies, visible_requests
from local.chaos.plan import Kind, Style
from local.chaos.world.saboteur import Saboteur
from local.chaos.world.site import Site


class QueuedRequests:
    """Takes the answers off the reply queue while it looks, and keeps them in `events`."""

    def __init__(self, site: Site, saboteur: Saboteur) -> None:
        self.events = list[Json]()
        self._connection, self._saboteur = site.connection, saboteur
        self._sent = [correlation(call) for call in site.plan.calls if call.style is Style.QUEUED]

    def unanswered(self) -> list[str]:
        """Return the requests that have no answer yet."""
        self.events += replies(self._connection)
        answered = {event.get("correlation_id") for event in self.events}
        return [name for name in self._sent if name not in answered]

    def visible(self) -> int:
        """Return how many messages the next host that asks for some will get."""
        return visible_requests(self._connection)

    def kept(self) -> int:
        """Return how many messages hosts may have had when they were killed. Another host gets them ten minutes later.

        Until then a request may have no answer, and is not lost.
        """
        return hidden_requests(self._connection) if self._saboteur.happened[Kind.KILL] else 0
