"""What tokens cost: an optional table of the deployment, by model."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from shared.core.errors import SettingsError

_MILLION = 1_000_000
_NUMBER = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")


@dataclass(frozen=True, slots=True)
class Price:
    """The prices of a million tokens, in any currency. Cached input costs as much as other input if it has no price."""

    input: float
    output: float
    cached: float | None = None

    def of(self, input_tokens: int, cached_tokens: int, output_tokens: int) -> float:
        """Return what these tokens cost. The cached ones are among those of the input."""
        cached = self.input if self.cached is None else self.cached
        fresh = max(0, input_tokens - cached_tokens)
        return round((fresh * self.input + cached_tokens * cached + output_tokens * self.output) / _MILLION, 6)


def parse_prices(text: str) -> Mapping[str, Price]:
    """Return the prices by model, from a text such as `gpt-5=1.25/0.125/10, o-mini=0.25/2`.

    They are those of input, cached input and output, or of input and output. Raises SettingsError, which names the
    model whose prices are wrong.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    found = dict(map(_priced, parts))
    if len(found) < len(parts):
        raise SettingsError("PRICES has a model twice")
    return found


def _priced(part: str) -> tuple[str, Price]:
    model, _, given = (piece.strip() for piece in part.rpartition("="))
    numbers = [number.strip() for number in given.split("/")]
    if not model or len(numbers) not in (2, 3) or not all(map(_NUMBER.fullmatch, numbers)):
        raise SettingsError(f"PRICES: '{part[:100]}' must be MODEL=INPUT/OUTPUT or MODEL=INPUT/CACHED/OUTPUT")
    prices = [float(number) for number in numbers]
    return model, Price(prices[0], prices[-1], prices[1] if len(prices) == 3 else None)
