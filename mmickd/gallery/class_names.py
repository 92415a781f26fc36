"""Names of classes, and classes by their names."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from mmickd.building.parts import leaf_datasets
from mmickd.utils.errors import ICKDError


def class_names(dataset: Any, count: int) -> list[str]:
    """Names of the classes of a data set; their numbers where it has none.

    Args:
        dataset: live, wrappers included.
        count: of the classes.
    """
    names = getattr(leaf_datasets(dataset)[0], "metainfo", {}).get("classes") or ()
    return [str(name) for name in names] if len(names) == count else [str(n) for n in range(count)]


def classes_named(wanted: Sequence[str] | None, names: Sequence[str]) -> set[int]:
    """Classes by their names or numbers; all of them for None.

    Raises:
        ICKDError: if there is no such class, with the nearest name.

    Example:
        >>> classes_named(["dog", "0"], ["cat", "dog"])
        {0, 1}
    """
    numbers = {str(number): number for number in range(len(names))}
    known = {**numbers, **{name: number for number, name in enumerate(names)}}
    for one in wanted or ():
        if one not in known:
            near = difflib.get_close_matches(one, names, n=1) or list(names[:3])
            raise ICKDError(f"--classes: there is no class '{one}' (there is {', '.join(near)}).")
    return set(numbers.values()) if wanted is None else {known[one] for one in wanted}
