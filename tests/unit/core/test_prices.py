"""Prices: what tokens cost, and a table that says clearly what is wrong with it."""

import pytest

from shared.core.errors import SettingsError
from shared.core.prices import Price, parse_prices


def test_prices_are_of_a_million_tokens() -> None:
    """Cached tokens are among those of the input."""
    price = Price(input=2.0, output=10.0, cached=0.5)
    assert price.of(1_000_000, 400_000, 100_000) == 1.2 + 0.2 + 1.0
    assert Price(input=2.0, output=10.0).of(1_000_000, 400_000, 0) == 2.0
    assert price.of(0, 0, 0) == 0


def test_more_cached_tokens_than_input_cost_only_themselves() -> None:
    """Some servers count them apart."""
    assert Price(input=2.0, output=10.0, cached=1.0).of(0, 1_000_000, 0) == 1.0


def test_a_table_is_read() -> None:
    """The price of cached input may be left out. Without a table nothing has a price."""
    expected = {"gpt-5": Price(1.25, 10, 0.125), "agent:a=b": Price(0, 1)}
    assert parse_prices(" gpt-5 = 1.25/0.125/10, agent:a=b=0/1,") == expected
    assert parse_prices("") == parse_prices(" , ") == {}


@pytest.mark.parametrize("part", ["m", "m=1", "=1/2", "m=1/2/3/4", "m=1/-2", "m=1/x", "m=1/2e3", "m=1/", "m=1234567/1"])
def test_a_wrong_price_is_refused(part: str) -> None:
    """The error shows it and says what was expected."""
    with pytest.raises(SettingsError, match=r"PRICES: '.*' must be MODEL=INPUT/OUTPUT"):
        parse_prices(f"o=1/2, {part}")


def test_a_model_has_one_price() -> None:
    """Of two it is not clear which one is meant."""
    with pytest.raises(SettingsError, match="twice"):
        parse_prices("m=1/2, m=3/4")
