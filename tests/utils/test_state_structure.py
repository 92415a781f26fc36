"""States of another form than those that they shall replace."""

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
def test_a_state_is_of_its_own_form(state: Any) -> None:
    check_same_structure(state, state, "it")


@pytest.mark.parametrize(
    ("saved", "own"),
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
def test_what_may_differ(saved: Any, own: Any) -> None:
    check_same_structure(saved, own, "it")


@pytest.mark.parametrize(
    ("saved", "own", "words"),
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
def test_what_must_not_differ(saved: Any, own: Any, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        check_same_structure(saved, own, "it")
