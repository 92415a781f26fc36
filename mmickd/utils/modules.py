"""Look-up and copies of modules, with and without wrappers (DDP, FSDP, torch.compile)."""

from __future__ import annotations

import copy

from torch import nn

WRAPPER_PARTS = ("_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_orig_mod", "module")
"""Components that torch's wrappers insert into module names."""


def name_without_wrappers(name: str) -> str:
    """Return ``name`` without the components that wrappers insert.

    Example:
        >>> name_without_wrappers("decode_head._fsdp_wrapped_module.conv_seg")
        'decode_head.conv_seg'
    """
    return ".".join(part for part in name.split(".") if part not in WRAPPER_PARTS)


def get_module(model: nn.Module, name: str) -> nn.Module | None:
    """Return the module called ``name`` in ``model``; None if there is none.

    The name has no components of wrappers, and the returned module is the wrapped module.
    """
    innermost = None
    for full_name, module in model.named_modules():
        if full_name and name_without_wrappers(full_name) == name:
            innermost = module  # named_modules is top down
    return innermost


def is_sharded(model: nn.Module) -> bool:
    """True if FSDP shards the weights, so that ``model`` can only run inside its wrapper.

    The wrapper may be outside of ``model``, so this reads the marks that FSDP sets on modules.
    """
    return any(getattr(module, "_is_fsdp_managed_module", False) for module in model.modules())


def copy_model(model: nn.Module) -> nn.Module:
    """Return a deep copy of a model whose methods belong to the copy.

    mmengine's ``torch.compile`` stores a bound method in the model's ``__dict__``; a plain deep
    copy would keep it and run the original model.
    """
    bound = {n: v for n, v in vars(model).items() if callable(v) and hasattr(type(model), n)}
    for name in bound:
        delattr(model, name)
    try:
        return copy.deepcopy(model)
    finally:
        for name, value in bound.items():
            setattr(model, name, value)
