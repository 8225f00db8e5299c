"""The errors with which the host refuses to start, or ends itself."""


class LoadError(Exception):
    """The platform would not run the app or its configuration. Each problem is one sentence."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class StorageGone(Exception):
    """Queue storage had no connection, or refused to settle a message, in every try. The platform ends the host."""
