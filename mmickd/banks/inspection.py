"""What a stored bank is, for people to read, and whether it is sound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmickd.banks.fingerprint import fingerprint_of
from mmickd.banks.inventory import Entry
from mmickd.banks.stored import (
    FORMAT_VERSION,
    TENSORS,
    UNREADABLE,
    mismatch,
    one_line,
    read_bank,
    read_manifest,
)

OK, INCOMPLETE, OTHER_FORMAT, BROKEN = "ok", "incomplete", "other format", "broken"
WIDTH = 40
"""Characters of a name that are shown."""


@dataclass(frozen=True)
class Description:
    """What a manifest says.

    Args:
        state: one of the four above; the tensors were not looked at.
        level: 'image', 'pixel' or 'region'.
        teacher: names of its checkpoint and its config.
        rows: of the bank.
        classes: of the teacher.
    """

    state: str
    level: str = ""
    teacher: str = ""
    rows: str = ""
    classes: str = ""


def describe(entry: Entry) -> Description:
    """What the manifest of a bank says; never raises."""
    if not entry.is_whole:
        return Description(INCOMPLETE)
    try:
        manifest = read_manifest(entry.folder)
    except UNREADABLE:
        return Description(BROKEN)
    about = manifest.get("about")
    names = about if isinstance(about, dict) else {}
    teacher = (names.get(f"teacher_{key}") for key in ("checkpoint", "config"))
    return Description(
        OK if manifest.get("format") == FORMAT_VERSION else OTHER_FORMAT,
        level=_short(manifest["fields"].get("level", "")),
        teacher=_short(", ".join(str(name) for name in teacher if name)),
        rows=_short(manifest.get("rows", "")),
        classes=_short(manifest.get("num_classes", "")),
    )


def fault_of(entry: Entry) -> str:
    """Why a bank cannot be used; empty if it can, or is another version's. Reads all of it."""
    state = describe(entry).state
    if state == INCOMPLETE:
        return "is incomplete"
    if state == OTHER_FORMAT:
        return ""
    try:
        manifest = read_manifest(entry.folder)
        fields = manifest["fields"]
        if fingerprint_of({"format": FORMAT_VERSION, **fields}) != entry.folder.name:
            return "is another bank than its name says"
        reason = mismatch(manifest, fields, entry.folder / TENSORS)
        if not reason:
            read_bank(entry.folder, manifest)
    except UNREADABLE as error:
        return f"cannot be read ({one_line(f'{type(error).__name__}: {error}')})"
    return reason


def _short(value: Any) -> str:
    text = one_line(value)
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 3]}..."
