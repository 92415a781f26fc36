"""Arguments of classes, read from their signatures and Google-style docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

ENTRY = re.compile(r"^    (\w+)(?: \(.*?\))?: (.*)$")
ROLE = re.compile(r":\w+:`~?([^`]+)`")
INHERITED = ("See :class:", "Like ")
"""Beginnings of a meaning that a base class documents."""


@dataclass(frozen=True)
class Argument:
    """Argument of a class.

    Args:
        name: Name.
        kind: Annotation.
        default: Source of the default, '' without one.
        meaning: Text of the docstring, in Markdown.
    """

    name: str
    kind: str
    default: str
    meaning: str


def arguments(kind: type, hidden: Collection[str] = ()) -> list[Argument]:
    """Return the arguments of a class in their order, without the ``hidden`` ones.

    Raises:
        ValueError: If an argument has no text in the docstrings of the class and its bases.
    """
    result = []
    for name, parameter in inspect.signature(kind).parameters.items():
        if name in hidden or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        annotation = str(parameter.annotation).removeprefix("typing.")
        default = "" if parameter.default is parameter.empty else repr(parameter.default)
        result.append(Argument(name, _type(annotation), default, meaning_of(kind, name)))
    return result


def meaning_of(kind: type, name: str) -> str:
    """Return the text of an argument from the first class of the MRO that documents it.

    Raises:
        ValueError: If no class does.
    """
    for base in kind.__mro__:
        text = argument_texts(base).get(name, "")
        if text and not text.startswith(INHERITED):
            return to_markdown(text)
    raise ValueError(f"{kind.__name__} has no text for its argument {name}")


def argument_texts(kind: type) -> dict[str, str]:
    """Return the text of each argument in the section 'Args' of the class's own docstring."""
    lines = inspect.cleandoc(kind.__doc__ or "").splitlines()
    texts: dict[str, str] = {}
    if "Args:" not in lines:
        return texts
    name = ""
    for line in lines[lines.index("Args:") + 1 :]:
        if line and not line.startswith("    "):
            break
        if match := ENTRY.match(line):
            name, texts[match[1]] = match[1], match[2]
        elif line.strip():
            texts[name] += f" {line.strip()}"
    return texts


def summary_of(value: Any) -> str:
    """Return the first paragraph of a docstring, in Markdown."""
    return to_markdown(" ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split()))


def to_markdown(text: str) -> str:
    """Return reStructuredText as Markdown: literals and roles as code."""
    text = ROLE.sub(lambda match: f"`{match[1].rpartition('.')[2]}`", text)
    return text.replace("``", "`").replace("|", "\\|").strip()


def _type(annotation: str) -> str:
    plain = {
        "Any": "dict",
        "ConfigLike": "str | Path | dict",
        "str | os.PathLike[str] | None": "str | None",
    }
    return plain.get(annotation, annotation).replace("|", "\\|")
