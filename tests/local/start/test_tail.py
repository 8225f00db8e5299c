"""Reading the lines that a running process adds to its log."""

from pathlib import Path

from local.start.tail import Tail


def test_each_marked_line_is_returned_once(tmp_path: Path) -> None:
    """Other lines are left out, and a second look returns only what was added."""
    log = tmp_path / "receiver.log"
    log.write_text("listening\n<- one\n")
    tail = Tail(log, "<- ")
    assert tail.lines() == ["<- one"]
    assert tail.lines() == []
    with log.open("a") as file:
        file.write("<- two\nnoise\n<- three\n")
    assert tail.lines() == ["<- two", "<- three"]


def test_a_line_is_returned_when_it_is_complete(tmp_path: Path) -> None:
    """A look in the middle of a write returns nothing, and the next one the whole line."""
    log = tmp_path / "receiver.log"
    log.write_text("<- resp")
    tail = Tail(log, "<- ")
    assert tail.lines() == []
    with log.open("a") as file:
        file.write("onse\n")
    assert tail.lines() == ["<- response"]
