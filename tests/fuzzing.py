"""What the fuzz tests share: any JSON value, and how many examples are tried."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# Hypothesis needs seconds to see that UTF-8 has no surrogates.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)


def json_of(numbers):
    """Returns a strategy of JSON values whose numbers with a point come from `numbers`."""
    return st.recursive(
        st.none() | st.booleans() | st.integers() | numbers | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner),
        max_leaves=6,
    )


json_values = json_of(st.floats())
many = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
