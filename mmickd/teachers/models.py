"""Networks of other configs than the run's, with their data preprocessors and scopes."""

from __future__ import annotations

import copy
from typing import Any

from mmengine.config import ConfigDict
from mmengine.model import BaseModel
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import DefaultScope
from torch import nn

from mmickd.tasks import task_for
from mmickd.utils.config import ConfigLike
from mmickd.utils.errors import ICKDError


def model_config(cfg: Any) -> dict[str, Any]:
    """Return the model of a config, as a new dict.

    The config's data preprocessor is merged into the model (otherwise the network would silently
    get inputs that are not normalised). Batch augmentations are removed, as the training batches
    are augmented already.

    Args:
        cfg: Whole ``Config``.
    """
    model = copy.deepcopy(_as_dict(cfg.model))
    if cfg.get("data_preprocessor") is not None:
        model.setdefault("data_preprocessor", copy.deepcopy(_as_dict(cfg.data_preprocessor)))
    if "augments" in (model.get("train_cfg") or {}):
        model.pop("train_cfg")
    return model


def _as_dict(part: Any) -> dict[str, Any]:
    return part.to_dict() if hasattr(part, "to_dict") else part


def without_initialisation(model: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a model's config that downloads and initialises nothing."""
    model = copy.deepcopy(model)
    if "pretrained" in model:
        model["pretrained"] = None
    for part in [model, *model.values()]:
        for block in part if isinstance(part, list) else [part]:
            if isinstance(block, dict):
                block.pop("init_cfg", None)
    return model


def build_network(model: dict[str, Any], cfg: Any, reference: ConfigLike | None) -> nn.Module:
    """Return a network, built in the scope of its config.

    If the config names no scope, its reference does (``mmseg::...``), otherwise the run.

    Args:
        model: Model to build, see :func:`model_config`.
        cfg: Whole config that the model comes from.
        reference: Value of the option that names the config; None for the run's config.

    Raises:
        ICKDError: If the network cannot be built.
    """
    scope = cfg.get("default_scope")
    current = DefaultScope.get_current_instance()
    if not scope and isinstance(reference, str) and "::" in reference:
        scope = reference.partition("::")[0]
    elif not scope and current is not None:
        scope = current.scope_name
    try:
        with ROOT_MODELS.switch_scope_and_registry(scope or None) as registry:
            network = registry.build(ConfigDict(model))
    except ICKDError:
        raise
    except Exception as error:
        raise ICKDError(
            f"teacher.cfg cannot be built ({type(error).__name__}: {str(error)[:300]})."
        ) from error
    if not isinstance(network, BaseModel):
        raise ICKDError(
            f"teacher.cfg builds a {type(network).__name__}, which is no BaseModel of mmengine: "
            "set teacher.cfg to the config of a whole classifier or segmenter."
        )
    return network


def check_task(network: nn.Module, owner: str) -> None:
    """Raise an error for a network that its task adapter cannot distil.

    Args:
        network: Classifier or segmenter.
        owner: Name of the network, for the message.

    Raises:
        ICKDError: With the reason, if the network is not supported.
    """
    try:
        task_for(network, network).check_student(network)
    except ICKDError as error:
        raise ICKDError(f"{owner}: {error}") from error
