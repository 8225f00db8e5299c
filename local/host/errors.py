"""The error with which the host refuses to start."""


class LoadError(Exception):
    """The platform would not run the app or its configuration. Each problem is one sentence."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems
