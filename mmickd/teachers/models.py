"""Networks of other configs than the run's: their model with its preprocessor, in its own scope."""

from __future__ import annotations

import copy
from typing import Any

from mmengine.config import ConfigDict
from mmengine.model import BaseModel
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import DefaultScope
from torch import nn

from mmickd.utils.config import ConfigLike
from mmickd.utils.errors import ICKDError


def model_config(cfg: Any) -> dict[str, Any]:
    """The model of a config, as a dict of its own.

    The data preprocessor of the config is merged into it (else the network would get inputs without
    normalisation, silently), and no batch augmentation is left: it sees batches that had theirs.

    Args:
        cfg: a whole ``Config``.
    """
    model = copy.deepcopy(_as_dict(cfg.model))
    if cfg.get("data_preprocessor") is not None:
        model.setdefault("data_preprocessor", copy.deepcopy(_as_dict(cfg.data_preprocessor)))
    if "augments" in (model.get("train_cfg") or {}):
        model.pop("train_cfg")
    return model


def without_initialisation(model: dict[str, Any]) -> dict[str, Any]:
    """The same model, of which nothing is downloaded or initialised: a file has its weights."""
    model = copy.deepcopy(model)
    if "pretrained" in model:
        model["pretrained"] = None
    for part in [model, *model.values()]:
        for block in part if isinstance(part, list) else [part]:
            if isinstance(block, dict):
                block.pop("init_cfg", None)
    return model


def build_network(model: dict[str, Any], cfg: Any, reference: ConfigLike | None) -> nn.Module:
    """A network under its own scope.

    Args:
        model: see :func:`model_config`.
        cfg: the whole config that it is from.
        reference: how that was named; None: it is the run's own.

    Raises:
        ICKDError: if it cannot be built.
    """
    try:
        with ROOT_MODELS.switch_scope_and_registry(_scope(cfg, reference)) as registry:
            network = registry.build(ConfigDict(model))
    except ICKDError:
        raise
    except Exception as error:
        raise ICKDError(
            f"teacher.cfg cannot be built ({type(error).__name__}: {str(error)[:300]})."
        ) from error
    if not isinstance(network, BaseModel):
        raise ICKDError(
            f"teacher.cfg gives a {type(network).__name__}, which is no model that mmengine trains "
            "(BaseModel): its model must be a whole classifier or segmenter."
        )
    return network


def _scope(cfg: Any, reference: ConfigLike | None) -> str | None:
    """The scope that a config names, else its package, else that of the run."""
    if cfg.get("default_scope"):
        return cfg.default_scope
    if isinstance(reference, str) and "::" in reference:
        return reference.partition("::")[0]
    current = DefaultScope.get_current_instance()
    return current.scope_name if current is not None else None


def _as_dict(part: Any) -> dict[str, Any]:
    return part.to_dict() if hasattr(part, "to_dict") else part
