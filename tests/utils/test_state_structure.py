"""Structure of a loaded state against the state that it replaces."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmickd.utils.state_structure import check_same_structure

PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3))
STATES = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(STATES)
def test_a_state_has_its_own_structure(state: Any) -> None:
    check_same_structure(state, state, "it")


@pytest.mark.parametrize(
    ("saved", "current"),
    [
        (2, 0.5),
        (1e300, 1),
        (None, False),
        (True, None),
        (dict(lr=1, new="x"), dict(lr=2)),
        (dict(lr=1), dict(lr=2, foreach=None, maximize=False)),  # of an older torch
        (torch.zeros(2, 3), torch.ones(2, 3)),
        ((1, 2), [3, 4]),
    ],
)
def test_numbers_switches_and_new_keys_may_differ(saved: Any, current: Any) -> None:
    check_same_structure(saved, current, "it")


@pytest.mark.parametrize(
    ("saved", "current", "words"),
    [
        ("x", 0.5, "it is 'x'"),
        (None, 0.5, "it is None"),
        (True, 1, "it is True"),
        (1, True, "it is 1"),
        (0.1, None, "it is 0.1"),
        (1, "1", "it is 1"),
        (torch.ones(3), None, "it is tensor"),
        (torch.ones(3), torch.ones(2), "it is tensor"),
        ("momentum", "lr", "it is 'momentum'"),
        ([1], [1, 2], r"it is \[1\]"),
        (dict(a=[dict(lr="x")]), dict(a=[dict(lr=1)]), r"it\.a\.0\.lr is 'x'"),
        (dict(), dict(lr=1), "it has no lr"),
        ([], dict(lr=1), r"it is \[\]"),
        ("ab", [1, 2], "it is 'ab'"),
    ],
)
def test_types_shapes_texts_and_missing_keys_are_rejected(
    saved: Any, current: Any, words: str
) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        check_same_structure(saved, current, "it")
