"""Config references: a file, a Config, a dict, or ``package::path``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeAlias

from mmengine.config import Config, ConfigDict
from mmengine.utils import get_installed_path

from mmickd.utils.errors import ICKDError
from mmickd.utils.packages import is_installed, repair_scopes

ConfigLike: TypeAlias = "str | os.PathLike[str] | dict[str, Any] | Config"


def find_config(reference: str | os.PathLike[str], option: str) -> str:
    """The file that ``reference`` means; nothing is ever installed for it.

    Args:
        reference: a file (relative to the working directory, else to the project or the installed
            package), or ``mmseg::...`` / ``mmpretrain::...``.
        option: name of the option, for the message.

    Raises:
        ICKDError: if there is no such file or package.
    """
    reference = os.path.expanduser(os.fspath(reference))
    if "::" in reference:
        package, _, relative = reference.partition("::")
        repair_scopes()
        if not is_installed(package):
            raise ICKDError(
                f"{option}='{reference}' needs {package}, which is not installed: "
                'pip install "mmickd[onedl]".'
            )
        candidates = [Path(get_installed_path(package)) / ".mim" / "configs" / relative]
    else:
        package_root = Path(__file__).resolve().parents[1]
        roots = [Path(), package_root.parent, package_root / ".mim"]
        candidates = [root / reference for root in roots]
    for candidate in candidates:
        if candidate.is_file():
            return str(candidate)
    raise ICKDError(
        f"{option}='{reference}' does not exist (looked for {candidates[0]}). Give the path of a "
        "config file, a Config, or 'mmseg::...' / 'mmpretrain::...'."
    )


def load_config(reference: ConfigLike, option: str) -> Config:
    """A copy of the config that ``reference`` means.

    Args:
        reference: see :func:`find_config`; a dict may be a whole config or a model alone.
        option: name of the option, for the message.

    Raises:
        ICKDError: if it cannot be found or read, or has no model.
    """
    if isinstance(reference, Config):
        cfg = Config(reference.to_dict())
    elif isinstance(reference, dict):
        data = dict(ConfigDict(reference).to_dict())
        cfg = Config(data if "model" in data else {"model": data})
    else:
        file = find_config(reference, option)
        try:
            cfg = Config.fromfile(file)
        except Exception as error:
            raise ICKDError(f"{option}='{reference}' cannot be read: {error}") from error
    if "type" not in (cfg.get("model") or {}):
        raise ICKDError(f"{option} has no model: it must be the config of a trained model.")
    return cfg
