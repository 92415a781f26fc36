"""What a run leaves: its last checkpoint and the banks in its cache; whether two are the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.helpers import toys


def differing_parts(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """What is not bit for bit the same in the checkpoints of two runs.

    All that a teacher that learns keeps there is compared, and named: peers with their optimizers,
    schedulers and random states, averages, queues.
    """
    parts = [
        part
        for part in ("state_dict", "optimizer")
        if not toys.same_state(dict(found[part]), dict(wanted[part]))
    ]
    parts += _differing(_by_name(found.get("mmickd")), _by_name(wanted.get("mmickd")), "mmickd")
    if histories(found) != histories(wanted):
        parts.append("losses in the checkpoint")
    return parts


def histories(checkpoint: dict[str, Any]) -> dict[str, list[float]]:
    """Losses of all steps, as the message hub of a checkpoint keeps them."""
    scalars = checkpoint["message_hub"]["log_scalars"]
    return {name: [float(v) for v in scalars[name].data[0]] for name in scalars if "loss" in name}


def is_whole_bank(folder: Path) -> bool:
    """Whether a folder in the cache has a bank with the manifest that belongs to it."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        return manifest["sha256"] == sha256((folder / "bank.safetensors").read_bytes()).hexdigest()
    except (OSError, ValueError, KeyError):
        return False


def _by_name(value: Any) -> Any:
    """The same with dicts for lists, so that all that is in it has a name."""
    if isinstance(value, (list, tuple)):
        value = dict(enumerate(value))
    if isinstance(value, Mapping):
        return {str(name): _by_name(one) for name, one in value.items()}
    return value


def _differing(found: Any, wanted: Any, name: str) -> list[str]:
    """Names of the tensors and plain values that differ."""
    if not (isinstance(found, dict) and isinstance(wanted, dict)):
        return [] if toys.same_state({"": found}, {"": wanted}) else [name]
    if found.keys() != wanted.keys():
        return [name]
    return [part for key in wanted for part in _differing(found[key], wanted[key], f"{name}.{key}")]
