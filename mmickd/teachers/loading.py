"""Filling a network with weights: as its modules load them, and every one of them."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmickd.utils.errors import ICKDError
from mmickd.utils.text import error_text, shorten

MAX_NAMES = 3
"""Keys shown in an error message."""
OTHER_SHAPE = re.compile(
    r"size mismatch for (\S+): .*? shape torch\.Size\((.*?)\) .* torch\.Size\((.*?)\)\.$"
)
"""As torch says it, at length."""
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def load_strictly(model: nn.Module, state: Mapping[str, Any], source: str, owner: str) -> None:
    """Load weights, every one of them.

    Args:
        model: see :func:`load_weights`.
        state: see :func:`load_weights`.
        source: where they come from, for messages.
        owner: whose architecture ``model`` has, for messages.

    Raises:
        ICKDError: if they are of another architecture.
    """
    faults = load_weights(model, state)
    if faults:
        raise ICKDError(
            f"{source} does not fit {owner} ({faults}). "
            "Give the config that this checkpoint was trained with, or the other checkpoint."
        )


def load_weights(model: nn.Module, state: Mapping[str, Any]) -> str:
    """Load weights, and say what of them does not fit.

    Modules convert weights of older versions while they load. So what is missing, unexpected or of
    another shape is known after that; a model that they do not fit may be filled in part.

    Args:
        model: to be filled.
        state: the weights, with their ``_metadata`` if they have it, by which modules know the
            version.

    Returns:
        What is wrong, for a message; empty if all of them fit.
    """
    missing, unexpected, refused = _load(model, state)
    if missing:
        computed = _left_out_by_itself(model)
        missing = [name for name in missing if name not in computed]
    faults = {"missing": missing, "unexpected": unexpected, "refused": refused}
    return "; ".join(
        f"{len(names)} {what}: {_some(names)}" for what, names in faults.items() if names
    )


def _load(model: nn.Module, state: Mapping[str, Any]) -> tuple[list[str], list[str], list[str]]:
    """Names that are missing, names that are unexpected, and what else torch says against it."""
    reports: list[Any] = []
    hooks = [m.register_load_state_dict_pre_hook(_refuse_other_numbers) for m in model.modules()]
    # torch keeps the names for itself where it raises; a hook gets them always
    hooks.append(model.register_load_state_dict_post_hook(lambda _, keys: reports.append(keys)))
    refused: list[str] = []
    try:
        model.load_state_dict(state, strict=False)
    except Exception as error:  # whatever a module's conversion makes of other weights
        lines = str(error).split("\n\t")[1:] or [error_text(error)]
        refused = [shorten(OTHER_SHAPE.sub(r"\1 of shape \2 for \3", line), 120) for line in lines]
    finally:
        for hook in hooks:
            hook.remove()
    missing, unexpected = reports[0] if reports else ([], [])
    return missing, unexpected, refused


def _refuse_other_numbers(
    module: nn.Module,
    state: Mapping[str, Any],
    prefix: str,
    metadata: Any,
    strict: bool,
    missing: list[str],
    unexpected: list[str],
    errors: list[str],
) -> None:
    """Torch would copy integers, or floats of 8 bits, into a layer of floats without a word."""
    own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    for name, value in own:
        given = state.get(prefix + name)
        if value.is_floating_point() and isinstance(given, Tensor) and given.dtype not in FLOATS:
            errors.append(f"{prefix}{name} is of {given.dtype}, its layer needs floats")


def _left_out_by_itself(model: nn.Module) -> set[str]:
    """Buffers that a model computes when it is made, and does not take even from itself."""
    own = copy.deepcopy(model.state_dict())  # some modules change their weights while they load
    missing, _, _ = _load(model, own)
    return set(missing) & {name for name, _ in model.named_buffers(remove_duplicate=False)}


def _some(names: Iterable[str]) -> str:
    names = list(names)
    more = f", ... ({len(names) - MAX_NAMES} more)" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more
