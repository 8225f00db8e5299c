"""Shows text as it arrives, with notices on separate lines."""

from typing import TextIO

DIM, PLAIN, ERASE = "\x1b[2m", "\x1b[0m", "\r\x1b[K"


class Screen:
    """The output of a demo, which is written at once.

    On a terminal, notices are dim and a passing notice is overwritten. In a file, every notice stays.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._is_inside = False  # a line of text is incomplete
        self._is_passing = False  # the last line is a passing notice
        self.is_terminal = out.isatty()

    def text(self, text: str) -> None:
        """Write text where the last text ended, or below a notice that was written after it."""
        if text:
            self._write(self._erasure() + text)
            self._is_inside = not text.endswith("\n")

    def notice(self, line: str) -> None:
        """Write a line that stays."""
        self._write(self._margin() + self._dim(line) + "\n")

    def blank(self) -> None:
        """Write an empty line."""
        self._write(self._margin() + "\n")

    def passing(self, line: str) -> None:
        """Write a line that the next output replaces. In a file it stays."""
        end = "" if self.is_terminal else "\n"
        self._write(self._margin() + self._dim(line) + end)
        self._is_passing = self.is_terminal

    def _margin(self) -> str:
        """Return the characters that lead to the start of an empty line."""
        margin = self._erasure() + "\n" * self._is_inside
        self._is_inside = False
        return margin

    def _erasure(self) -> str:
        erasure = ERASE * self._is_passing
        self._is_passing = False
        return erasure

    def _dim(self, line: str) -> str:
        return f"{DIM}{line}{PLAIN}" if self.is_terminal else line

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
