"""The generated pages of docs/reference/ are those that the code makes today."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.generate.__main__ import PAGES, pages
from docs.generate.docstrings import argument_texts, arguments, to_markdown


@pytest.fixture(scope="module")
def texts() -> dict[Path, str]:
    return pages()


@pytest.mark.parametrize("name", PAGES)
def test_page_is_up_to_date(texts: dict[Path, str], name: str) -> None:
    """If this fails: ``python -m docs.generate``, and commit the pages."""
    (path,) = (path for path in texts if path.stem == name)
    assert path.read_text() == texts[path]


class Base:
    """Base.

    Args:
        a: First line
            and second, see :class:`~mmickd.structures.Queries`.
        b: Of the base.
    """

    def __init__(self, a: int, b: str = "x") -> None:
        pass


class Child(Base):
    """Child.

    Args:
        b: See :class:`Base`.
        c: Of ``T | None``.

    Raises:
        ValueError: Never.
    """

    def __init__(self, a: int, b: str = "x", c: float = 0.5) -> None:
        pass


def test_arguments_come_from_the_first_class_that_documents_them() -> None:
    assert argument_texts(Child) == {"b": "See :class:`Base`.", "c": "Of ``T | None``."}
    a, b, c = arguments(Child)
    assert a.meaning == "First line and second, see `Queries`." and a.default == ""
    assert b.meaning == "Of the base." and b.default == "'x'"
    assert c.meaning == "Of `T \\| None`." and c.kind == "float"
    assert [argument.name for argument in arguments(Child, hidden=("b",))] == ["a", "c"]


def test_an_argument_without_a_text_is_refused() -> None:
    class Silent(Base):
        def __init__(self, d: int) -> None:
            pass

    with pytest.raises(ValueError, match="Silent has no text for its argument d"):
        arguments(Silent)


def test_roles_become_code() -> None:
    assert to_markdown(":data:`mmickd.losses.terms.DEFAULT_TERMS`") == "`DEFAULT_TERMS`"
