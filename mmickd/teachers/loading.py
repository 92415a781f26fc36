"""Strict loading of a network's weights, including the conversions by its modules."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmickd.utils.errors import ICKDError
from mmickd.utils.text import error_text, shorten

MAX_NAMES = 3
"""Maximum number of names of each kind in an error message."""
OTHER_SHAPE = re.compile(
    r"size mismatch for (\S+): .*? shape torch\.Size\((.*?)\) .* torch\.Size\((.*?)\)\.$"
)
"""Pattern of torch's long message for a weight of another shape."""
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def load_strictly(model: nn.Module, state: Mapping[str, Any], source: str, owner: str) -> None:
    """Load weights into a model; raise an error if a weight is missing or does not fit.

    Args:
        model: Model to fill.
        state: Weights, see :func:`load_weights`.
        source: Name of the file of the weights, for messages.
        owner: Name of the model, for messages.

    Raises:
        ICKDError: If the weights belong to another architecture.
    """
    faults = load_weights(model, state)
    if faults:
        raise ICKDError(
            f"{source} does not fit {owner} ({faults}). "
            "Give the config that this checkpoint was trained with, or the other checkpoint."
        )


def load_weights(model: nn.Module, state: Mapping[str, Any]) -> str:
    """Load weights into a model, and return the faults: weights that do not fit.

    Modules convert weights of older versions while they load, so the faults are known only after
    loading; a model with faults may be loaded in part.

    Args:
        model: Model to fill.
        state: Weights; modules recognise their versions by the attribute ``_metadata``, if it
            exists.

    Returns:
        Faults, for a message; empty if all weights fit.
    """
    missing, unexpected, refused = _load(model, state)
    if missing:
        computed = _computed_buffers(model)
        missing = [name for name in missing if name not in computed]
    faults = {"missing": missing, "unexpected": unexpected, "refused": refused}
    return "; ".join(
        f"{len(names)} {fault}: {_first(names)}" for fault, names in faults.items() if names
    )


def _load(model: nn.Module, state: Mapping[str, Any]) -> tuple[list[str], list[str], list[str]]:
    """Load weights; return missing names, unexpected names, and torch's other errors."""
    reports: list[Any] = []
    hooks = [m.register_load_state_dict_pre_hook(_refuse_other_dtypes) for m in model.modules()]
    # If torch raises an error, it does not return the names; a hook gets them in any case.
    hooks.append(model.register_load_state_dict_post_hook(lambda _, keys: reports.append(keys)))
    refused: list[str] = []
    try:
        model.load_state_dict(state, strict=False)
    except Exception as error:  # any error of a module's conversion
        lines = str(error).split("\n\t")[1:] or [error_text(error)]
        refused = [shorten(OTHER_SHAPE.sub(r"\1 of shape \2 for \3", line), 120) for line in lines]
    finally:
        for hook in hooks:
            hook.remove()
    missing, unexpected = reports[0] if reports else ([], [])
    return missing, unexpected, refused


def _refuse_other_dtypes(
    module: nn.Module,
    state: Mapping[str, Any],
    prefix: str,
    metadata: Any,
    strict: bool,
    missing: list[str],
    unexpected: list[str],
    errors: list[str],
) -> None:
    """Report integers and 8-bit floats for floats, which torch would copy without an error."""
    tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    for name, tensor in tensors:
        value = state.get(prefix + name)
        if tensor.is_floating_point() and isinstance(value, Tensor) and value.dtype not in FLOATS:
            errors.append(f"{prefix}{name} is of {value.dtype}, its layer needs floats")


def _computed_buffers(model: nn.Module) -> set[str]:
    """Return the buffers that a model computes at its construction and never loads."""
    state = copy.deepcopy(model.state_dict())  # some modules change their weights while they load
    missing, _, _ = _load(model, state)
    return set(missing) & {name for name, _ in model.named_buffers(remove_duplicate=False)}


def _first(names: Sequence[str]) -> str:
    more = f", ... ({len(names) - MAX_NAMES} more)" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more
