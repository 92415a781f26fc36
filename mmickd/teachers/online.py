"""The teachers of the online paradigm: peers that learn with the student."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from mmickd.registry import TEACHERS
from mmickd.utils.config import ConfigLike, find_config
from mmickd.utils.errors import ICKDError
from mmickd.utils.options import check_choice, check_integer


@TEACHERS.register_module()
class OnlineTeacher:
    """Networks that train beside the student, each the others' teacher.

    Source: the online paradigm of arXiv 2501.07040; with KD alone it is deep mutual learning (Zhang
    et al. 2018).

    Args:
        cfg: config of the peers' model: a file, a Config, a dict, ``'mmseg::...'`` or
            ``'mmpretrain::...'``; None: another copy of the student. A list gives each peer its
            own.
        optim_wrapper: of each peer; None: a copy of the run's.
        param_scheduler: of each peer; None: a copy of the run's.
        num_peers: how many; with a list for ``cfg``, its length.
        losses: what the peers learn, as the hook's ``losses``; None: what the student learns.
        layer: name of their last classifier layer; 'auto' finds it.
        validate: validate the peers too, whenever the student is validated.
        resume: what a resumed run does if its checkpoint holds no peers: 'strict' stops, 'fresh'
            begins new ones.

    Raises:
        ICKDError: if an option is out of range.
    """

    def __init__(
        self,
        cfg: ConfigLike | list[ConfigLike] | None = None,
        optim_wrapper: Any = None,
        param_scheduler: Any = None,
        num_peers: int | None = None,
        losses: Any = None,
        layer: str = "auto",
        validate: bool = False,
        resume: str = "strict",
    ) -> None:
        check_integer(num_peers, 1, "teacher.num_peers", none=True)
        check_choice(resume, ("strict", "fresh"), "teacher.resume")
        check_choice(validate, (True, False), "teacher.validate")
        _check_kind(optim_wrapper, "optim_wrapper", Mapping, "a dict")
        for one in (
            param_scheduler if isinstance(param_scheduler, (list, tuple)) else [param_scheduler]
        ):
            _check_kind(one, "param_scheduler", Mapping, "a dict or a list of dicts")
        for one in cfg if isinstance(cfg, (list, tuple)) else [cfg]:
            _check_kind(
                one, "cfg", (str, os.PathLike, Mapping, Config), "a file, a Config or a dict"
            )
        if not isinstance(layer, str):
            raise ICKDError(f"teacher.layer={layer!r}: it must be 'auto' or the name of a layer.")
        cfgs = list(cfg) if isinstance(cfg, (list, tuple)) else [cfg] * (num_peers or 1)
        if not cfgs or len(cfgs) != (num_peers or len(cfgs)):
            raise ICKDError(
                f"teacher.num_peers={num_peers} and teacher.cfg gives {len(cfgs)} configs: leave "
                "num_peers out, or give one config for all."
            )
        self.cfgs, self.optim_wrapper, self.param_scheduler = cfgs, optim_wrapper, param_scheduler
        self.layer, self.validate, self.resume = layer, validate, resume
        self.losses = losses

    def check_files(self) -> None:
        """Look whether the configs are there.

        Raises:
            ICKDError: if one is not.
        """
        for cfg in self.cfgs:
            if isinstance(cfg, (str, os.PathLike)):
                find_config(cfg, "teacher.cfg")


def _check_kind(value: Any, option: str, kinds: Any, words: str) -> None:
    """Refuse what is not of these kinds, and not None."""
    if value is not None and (not isinstance(value, kinds) or value == {}):
        raise ICKDError(f"teacher.{option}={value!r}: it must be {words}, or None.")
