"""Look-up and reading of configs: a file, a Config, a dict, or ``package::path``."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from mmengine.config import Config, ConfigDict, DictAction
from mmengine.utils import get_installed_path

from mmickd.utils.errors import ICKDError
from mmickd.utils.packages import is_installed, repair_scopes
from mmickd.utils.paths import expand_path
from mmickd.utils.text import safe_repr
from mmickd.utils.validation import check_path

ConfigLike: TypeAlias = "str | os.PathLike[str] | dict[str, Any] | Config"


def type_name(kind: Any) -> str:
    """Return the class name in the ``type`` of a config, without scope and module.

    Args:
        kind: Value of ``type``: a class, or its name with or without a scope or module.

    Example:
        >>> type_name("mmickd.ICKDHook"), type_name(Config), type_name(None)
        ('ICKDHook', 'Config', '')
    """
    return getattr(kind, "__name__", str(kind or "")).rpartition(".")[2]


def is_segmentation(cfg: Mapping[str, Any]) -> bool:
    """True if a config trains or tests a segmenter of mmseg.

    It is used before a model is built, for options of mmseg's tools. If there is a model, its
    :class:`~mmickd.tasks.Task` decides.

    Args:
        cfg: The whole config.

    Example:
        >>> is_segmentation({"default_scope": "mmseg"}), is_segmentation({})
        (True, False)
    """
    return bool(cfg.get("default_scope") == "mmseg")


def check_config_reference(reference: Any, option: str) -> None:
    """Raise an error for a value that is no path, ``Config`` or dict.

    Raises:
        OptionError: For any other value.
    """
    rule = "it must be a file, a Config or a dict."
    if not isinstance(reference, (Mapping, Config)):
        check_path(reference, option, rule)


def find_file(reference: str | os.PathLike[str], option: str) -> str:
    """Return the path of a file in the working directory, else in the project or the package.

    Args:
        reference: Absolute or relative path of the file.
        option: Name of the option, for the message.

    Raises:
        ICKDError: If there is no such file.
    """
    reference = expand_path(reference)
    package_root = Path(__file__).resolve().parents[1]
    roots = [Path(), package_root.parent, package_root / ".mim"]
    return _first_file([root / reference for root in roots], reference, option)


def find_config(reference: str | os.PathLike[str], option: str) -> str:
    """Return the path of a config file; no package is installed for the search.

    Args:
        reference: Path as in :func:`find_file`, or ``mmseg::...`` / ``mmpretrain::...``.
        option: Name of the option, for the message.

    Raises:
        ICKDError: If there is no such file or package.
    """
    repair_scopes()  # a file, too, may inherit from a package
    reference = os.fspath(reference)
    if "::" not in reference:
        return find_file(reference, option)
    package, _, relative = reference.partition("::")
    if not is_installed(package):
        raise ICKDError(
            f"{option}='{reference}' needs {package}, which is not installed: "
            'pip install "mmickd[onedl]".'
        )
    file = Path(get_installed_path(package)) / ".mim" / "configs" / relative
    return _first_file([file], reference, option)


def _first_file(candidates: list[Path], reference: str, option: str) -> str:
    for candidate in candidates:
        if os.path.isfile(candidate):  # False, not an error, if the name is too long
            return str(candidate)
    raise ICKDError(
        f"{option}='{reference}' does not exist (looked for {candidates[0]}). Give the path of a "
        "config file, a Config, or 'mmseg::...' / 'mmpretrain::...'."
    )


def load_config(reference: ConfigLike, option: str) -> Config:
    """Return a copy of the config that ``reference`` refers to.

    Args:
        reference: Path as in :func:`find_config`, a ``Config``, or a dict with a whole config or
            only its model.
        option: Name of the option, for the message.

    Raises:
        ICKDError: If it cannot be found or read, or has no model.
    """
    check_config_reference(reference, option)
    if isinstance(reference, (str, os.PathLike)):
        reference = find_config(reference, option)
    try:
        # parts of it are copied later, so a config that cannot be copied must fail here
        cfg = copy.deepcopy(_read(reference))
    except Exception as error:  # mmengine raises many types
        raise ICKDError(f"{option}={safe_repr(reference)} cannot be read: {error}") from error
    model = cfg.get("model")
    if not isinstance(model, Mapping) or "type" not in model:
        raise ICKDError(f"{option} has no model: it must be the config of a trained model.")
    return cfg


def _read(source: str | dict[str, Any] | Config) -> Config:
    if isinstance(source, str):
        return Config.fromfile(source)
    if isinstance(source, Config):
        return Config(source.to_dict())
    data = dict(ConfigDict(source).to_dict())
    return Config(data if "model" in data else {"model": data})


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Return the values of ``KEY=VALUE`` pairs, parsed as ``--cfg-options`` does.

    Raises:
        ICKDError: If a pair has no ``=``.

    Example:
        >>> parse_options(["a.b=1e-3", "c=[x,None]"])
        {'a.b': 0.001, 'c': ['x', None]}
    """
    options = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ICKDError(f"'{pair}' is no option of a config: it must be KEY=VALUE.")
        options[key] = DictAction._parse_iterable(value)
    return options
