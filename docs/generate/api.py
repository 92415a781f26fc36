"""The page of the public classes and functions, for Sphinx's autodoc."""

from __future__ import annotations

import inspect
from pkgutil import resolve_name

import mmickd

TITLES = {
    "hooks": "Hooks",
    "teachers": "Teachers",
    "banks": "Banks",
    "retrieval": "Retrieval",
    "losses": "Losses",
    "tasks": "Tasks",
    "structures": "Data structures",
    "registry": "Registries",
    "utils.errors": "Errors",
}


def api_page() -> str:
    """Return the page of all public names by room."""
    parts = [
        "# API",
        "Look up the public classes and functions: all of them can be imported from `mmickd`.",
    ]
    for room, title in TITLES.items():
        parts.append(f"## {title}")
        parts.extend(directive(name) for name in mmickd.__all__ if room_of(name) == room)
    return "\n\n".join(parts) + "\n"


def room_of(name: str) -> str:
    """Return the folder of the package that defines a public name."""
    value = resolve_name(f"mmickd.{name}")
    if name == "__version__":
        return ""
    is_code = inspect.isclass(value) or inspect.isfunction(value)
    room = value.__module__.split(".")[1] if is_code else "registry"
    return "utils.errors" if room == "utils" else room


def directive(name: str) -> str:
    """Return the directive of a public name."""
    value = resolve_name(f"mmickd.{name}")
    is_class = inspect.isclass(value)
    if not is_class and not inspect.isfunction(value):
        return f"`mmickd.{name}`: registry of {TITLES.get(value.name, value.name)}."
    kind = "class" if is_class else "function"
    members = ["   :members:"] if is_class else []
    lines = ["```{eval-rst}", f".. auto{kind}:: mmickd.{room_of(name)}.{name}", *members, "```"]
    return "\n".join(lines)
