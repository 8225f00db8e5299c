"""An extractive outline: the most significant sentences of a text, in their original order."""

import re
from collections import Counter

POINTS = 5
READ_CHARACTERS = 200_000
SENTENCE_CHARACTERS = 240
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
LEADING_MARKS = re.compile(r"^[\s#*>|-]+")
TELLING_WORD = re.compile(r"[^\W\d_]{5,}")


def outline(text: str) -> list[str]:
    """Return up to five sentences of the text, chosen by how often their words occur in the whole text."""
    sentences = _sentences(text[:READ_CHARACTERS])
    words = {sentence: _telling_words(sentence) for sentence in sentences}
    frequency = Counter(word for found in words.values() for word in found)

    def weight(sentence: str) -> float:
        found = words[sentence]
        # The constant prevents a heading of one frequent word from ranking above a sentence.
        return sum(frequency[word] for word in set(found)) / (len(found) + 4)

    chosen = set(sorted(sentences, key=weight, reverse=True)[:POINTS])
    return [shortened(sentence, SENTENCE_CHARACTERS) for sentence in sentences if sentence in chosen]


def shortened(text: str, width: int) -> str:
    """Return the beginning of the text on one line. If the text is longer, cut it at a space and append an ellipsis."""
    line = " ".join(text[: 4 * width].split())
    return line if len(line) <= width else line[:width].rsplit(" ", 1)[0] + " ..."


def _sentences(text: str) -> list[str]:
    found = (LEADING_MARKS.sub("", part).strip() for part in SENTENCE_END.split(text))
    return list(dict.fromkeys(sentence for sentence in found if sentence))


def _telling_words(sentence: str) -> list[str]:
    return TELLING_WORD.findall(sentence.lower())
