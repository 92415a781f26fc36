"""The file that makes a folder a bank: what it depends on, and checksums of the other files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmickd.storage.files import open_regular, replacing

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 2**20
"""Ours have about 1 kB."""


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest, after all that it speaks of.

    Raises:
        OSError: if it cannot be written.
    """
    with replacing(folder / MANIFEST) as temporary:
        temporary.write_text(json.dumps(manifest, indent=2, sort_keys=True))


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest in a folder.

    Raises:
        OSError: if there is none, or something else than a file.
        ValueError: if it is too large, or no dict in JSON.
    """
    with open_regular(folder / MANIFEST) as file:
        data = file.read(MAX_MANIFEST_BYTES + 1)
    if len(data) > MAX_MANIFEST_BYTES:
        raise ValueError(f"{MANIFEST} is larger than {MAX_MANIFEST_BYTES} bytes")
    manifest = json.loads(data)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("fields"), dict):
        raise ValueError(f"{MANIFEST} does not describe a bank")
    return manifest
