"""Any JSON value, as a strategy of hypothesis. Its names are often those that the service looks for."""

from typing import Any

from hypothesis import strategies as st

NAMES = ("type", "tools", "headers", "token", "properties", "metadata", "server_url", "value", "name", "text", "id")


def json_values() -> st.SearchStrategy[Any]:
    """Return values that are nested up to a few levels."""
    names = st.sampled_from(NAMES) | st.text(max_size=10)
    texts = st.text(max_size=20) | st.sampled_from(["mcp", "function", "https://u:p@example.com/a1?x=y#z", "://"])
    plain = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts
    return st.recursive(
        plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=5), max_leaves=20
    )
