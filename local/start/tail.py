"""Reads the lines that another process adds to a file."""

from pathlib import Path


class Tail:
    """The lines of a file that begin with a mark. Each is returned once, when it is complete."""

    def __init__(self, file: Path, mark: str) -> None:
        self._file = file
        self._mark = mark.encode()
        self._read = 0  # bytes of the file that were returned or skipped

    def lines(self) -> list[str]:
        """Return the lines that were completed since the last call."""
        with self._file.open("rb") as file:
            file.seek(self._read)
            added = file.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._read += len(whole)
        return [line.decode(errors="replace") for line in whole.splitlines() if line.startswith(self._mark)]
