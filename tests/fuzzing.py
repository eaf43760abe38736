"""What the fuzz tests share: any JSON value, and how many examples are tried."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st


def json_of(numbers):
    """Returns a strategy of JSON values whose numbers with a point come from `numbers`."""
    return st.recursive(
        st.none() | st.booleans() | st.integers() | numbers | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
        max_leaves=6,
    )


json_values = json_of(st.floats())
many = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
