"""Registries of mmickd, and construction of their objects from configs.

``HOOKS``, ``MODELS`` and ``DATASETS`` are children of mmengine's root registries with the scope
``mmickd``: ``type='mmickd.X'`` resolves from any config, also in the stock tools, without
``custom_imports`` (mmengine imports ``mmickd.registry`` when a config uses the scope).
"""

from __future__ import annotations

import inspect
from typing import Any

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import Registry
from mmengine.utils import get_object_from_string

from mmickd.utils.errors import ICKDError, OptionError
from mmickd.utils.text import safe_repr
from mmickd.utils.validation import check_choice, check_dict, check_names, parameters_of

HOOKS = Registry("hook", parent=MMENGINE_HOOKS, scope="mmickd", locations=["mmickd.hooks"])
MODELS = Registry("model", parent=MMENGINE_MODELS, scope="mmickd", locations=["mmickd.models"])
DATASETS = Registry(
    "dataset", parent=MMENGINE_DATASETS, scope="mmickd", locations=["mmickd.datasets"]
)

LOSSES = Registry("distillation loss", scope="mmickd", locations=["mmickd.losses"])
RETRIEVERS = Registry("retriever", scope="mmickd", locations=["mmickd.retrieval"])
TASKS = Registry("task", scope="mmickd", locations=["mmickd.tasks"])
TEACHERS = Registry("teacher", scope="mmickd", locations=["mmickd.teachers"])


def registered(registry: Registry) -> dict[str, Any]:
    """Return the classes of a registry by name, in the order of their registration.

    Example:
        >>> "KDLoss" in registered(LOSSES)
        True
    """
    registry.import_from_location()
    return dict(registry.module_dict)


def build_part(
    registry: Registry,
    cfg: Any,
    default: str,
    where: str,
    extra_names: tuple[str, ...] = (),
    base: type = object,
) -> Any:
    """Build an object from its config, after a check of its type and the names of its options.

    Args:
        registry: Registry of this module.
        cfg: Dict of options and ``type`` (a registered name, a class, or the path that a class is
            imported by, as mmengine dumps classes); None: no options.
        default: Type of a config without ``type``.
        where: Name of this part of the config, for messages.
        extra_names: Further option names, which the caller has removed from the config, for the
            message.
        base: Required base class.

    Raises:
        ICKDError: If the type or an option is unknown or impossible.

    Example:
        >>> build_part(LOSSES, dict(temperature=2), "KDLoss", "losses.kd").temperature
        2
        >>> build_part(LOSSES, dict(temperature=0), "KDLoss", "losses.kd")
        Traceback (most recent call last):
            ...
        mmickd.utils.errors.OptionError: losses.kd.temperature=0: it must be a positive number.
    """
    options = check_dict(cfg, where)
    kind = _class_of(registry, options.pop("type", default), f"{where}.type")
    if not (inspect.isclass(kind) and issubclass(kind, base)):
        package = base.__module__.rpartition(".")[0]
        raise ICKDError(f"{where}.type: {kind.__name__} is no {package}.{base.__name__}.")
    parameters = inspect.signature(kind).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        check_names(options, [*parameters_of(kind), *extra_names], where)
    for name in parameters_of(kind):
        if parameters[name].default is inspect.Parameter.empty and name not in options:
            raise ICKDError(f"{where}.{name} is not set: {kind.__name__} requires it.")
    try:
        return kind(**options)
    except OptionError as error:
        raise error.inside(where) from error
    except ICKDError:
        raise
    except (TypeError, ValueError) as error:
        raise ICKDError(f"{where} cannot be built from {safe_repr(options)}: {error}.") from error


def _class_of(registry: Registry, kind: Any, where: str) -> Any:
    """Return the class of a registered name or an import path; registered names come first.

    Raises:
        ICKDError: If there is no such class.
    """
    if inspect.isclass(kind):
        return kind
    kinds = registered(registry)
    name = kind.removeprefix("mmickd.") if isinstance(kind, str) else kind
    if not isinstance(name, str) or name in kinds or "." not in name:
        check_choice(name, kinds, where)
        return kinds[name]
    try:
        imported = get_object_from_string(kind)
    except Exception as error:  # any error of a user's module while it is imported
        raise ICKDError(
            f"{where}={safe_repr(kind)} cannot be imported: {type(error).__name__}: {error}."
        ) from error
    if not inspect.isclass(imported):
        raise OptionError(
            where,
            kind,
            "no class can be imported by this path (its folder must be on PYTHONPATH). Registered "
            f"are {', '.join(kinds)}.",
        )
    return imported
