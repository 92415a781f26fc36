"""A folder that is either complete or absent: what the converters write into."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from staging import staged_folder

MANIFEST = "manifest.json"


def read_manifest(out: Path) -> dict[str, Any] | None:
    """Return the manifest of a finished folder, or None where there is none."""
    try:
        return json.loads((out / MANIFEST).read_text())
    except (OSError, ValueError):
        return None


def is_complete(out: Path, params: dict[str, Any]) -> bool:
    """Whether ``out`` was written to its end with exactly these parameters."""
    manifest = read_manifest(out)
    return manifest is not None and manifest.get("params") == params


@contextmanager
def finished_folder(out: Path, params: dict[str, Any]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Write into a temporary folder that takes the place of ``out`` only when the block ends well.

    Args:
        out: The folder to make. An earlier one of the same converter is replaced.
        params: JSON-serialisable parameters, kept in the manifest.

    Yields:
        The temporary folder, and the manifest, to which the block may add entries.

    Raises:
        FileExistsError: If ``out`` holds files but no manifest, so that somebody else wrote it.
    """
    if out.exists() and any(out.iterdir()) and read_manifest(out) is None:
        raise FileExistsError(
            f"{out} exists and was not written by this converter (no {MANIFEST}). "
            "Choose another --out, or remove it yourself."
        )
    manifest: dict[str, Any] = dict(params=params)
    with staged_folder(out, replace=True) as partial:
        yield partial, manifest
        (partial / MANIFEST).write_text(json.dumps(manifest))
