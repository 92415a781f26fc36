"""Modules by their names, wrapped or not, and copies of them."""

from __future__ import annotations

import copy

from torch import nn

WRAPPER_PARTS = ("_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_orig_mod", "module")
"""Path components that wrappers of torch insert into module names."""


def name_without_wrappers(name: str) -> str:
    """``name`` without the components that wrappers insert.

    Example:
        >>> name_without_wrappers("decode_head._fsdp_wrapped_module.conv_seg")
        'decode_head.conv_seg'
    """
    return ".".join(part for part in name.split(".") if part not in WRAPPER_PARTS)


def get_module(model: nn.Module, name: str) -> nn.Module | None:
    """The module called ``name`` in ``model``, wrappers or not; None if there is none.

    When the name leads to a wrapper, what it wraps is returned.
    """
    found = None
    for full_name, module in model.named_modules():
        if full_name and name_without_wrappers(full_name) == name:
            found = module  # named_modules is top down: the innermost one comes last
    return found


def is_sharded(model: nn.Module) -> bool:
    """Whether FSDP keeps a part of the weights only, so that ``model`` runs in its wrapper only.

    Told by what FSDP marks modules with: the wrapper may lie around ``model``, out of sight.
    """
    return any(getattr(module, "_is_fsdp_managed_module", False) for module in model.modules())


def copy_model(model: nn.Module) -> nn.Module:
    """A copy whose methods are its own.

    ``torch.compile`` as mmengine uses it puts a method of the one model into the model's
    ``__dict__``, by which a copy would run the original.
    """
    bound = {n: v for n, v in vars(model).items() if callable(v) and hasattr(type(model), n)}
    for name in bound:
        delattr(model, name)
    try:
        return copy.deepcopy(model)
    finally:
        for name, value in bound.items():
            setattr(model, name, value)
