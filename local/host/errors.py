"""What makes the host refuse to start."""


class LoadError(Exception):
    """The app or its configuration is something the platform would not run; one sentence per problem."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems
