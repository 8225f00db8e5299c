"""How often the peers' programs try a call again, and how long they wait. Pure, for the programs and for the page."""

RETRIES = 10
DELAY_S = 1.0
"""Celery and Procrastinate have no such times by default, so the programs name these."""

DBOS_ATTEMPTS, DBOS_FIRST_S, DBOS_FACTOR = 10, 1.0, 2.0
"""The first wait and the factor are the defaults of a step of DBOS, whose default number of attempts is 3."""

RESTATE_ATTEMPTS, RESTATE_FIRST_S, RESTATE_MOST_S = 70, 0.5, 60.0
"""The `default-retry-policy` of `restate-server --dump-config`. Then the work pauses until a person resumes it."""


def steady() -> list[float]:
    """Return the waits of Celery and Procrastinate, in seconds."""
    return [DELAY_S] * RETRIES


def of_dbos() -> list[float]:
    """Return the waits of DBOS, in seconds."""
    return [DBOS_FIRST_S * DBOS_FACTOR**number for number in range(DBOS_ATTEMPTS - 1)]


def of_restate() -> list[float]:
    """Return the waits of Restate, in seconds."""
    return [min(RESTATE_MOST_S, RESTATE_FIRST_S * 2.0**number) for number in range(RESTATE_ATTEMPTS - 1)]
