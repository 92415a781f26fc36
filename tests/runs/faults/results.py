"""Comparison of the last checkpoints of two runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.helpers import toys


def differing_parts(result: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Return the names of the parts of two checkpoints that differ in a bit.

    The state of a teacher that learns is compared part by part: peers with their optimizers,
    schedulers and random states, averages, queues.
    """
    parts = [
        part
        for part in ("state_dict", "optimizer")
        if not toys.same_state(result[part], expected[part])
    ]
    parts += _differing(_by_name(result.get("mmickd")), _by_name(expected.get("mmickd")), "mmickd")
    if histories(result) != histories(expected):
        parts.append("losses in the checkpoint")
    return parts


def histories(checkpoint: dict[str, Any]) -> dict[str, list[float]]:
    """Return the losses of all steps in the message hub of a checkpoint."""
    scalars = checkpoint["message_hub"]["log_scalars"]
    return {name: [float(v) for v in scalars[name].data[0]] for name in scalars if "loss" in name}


def is_whole_bank(folder: Path) -> bool:
    """True if a folder in the cache has a bank and its manifest."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        return manifest["sha256"] == sha256((folder / "bank.safetensors").read_bytes()).hexdigest()
    except (OSError, ValueError, KeyError):
        return False


def _by_name(value: Any) -> Any:
    """Replace lists by dicts, so that every value has a name."""
    if isinstance(value, (list, tuple)):
        value = dict(enumerate(value))
    if isinstance(value, Mapping):
        return {str(name): _by_name(part) for name, part in value.items()}
    return value


def _differing(result: Any, expected: Any, name: str) -> list[str]:
    """Return the names of the tensors and plain values that differ."""
    if not (isinstance(result, dict) and isinstance(expected, dict)):
        return [] if toys.same_state({"": result}, {"": expected}) else [name]
    if result.keys() != expected.keys():
        return [name]
    return [
        part for key in expected for part in _differing(result[key], expected[key], f"{name}.{key}")
    ]
