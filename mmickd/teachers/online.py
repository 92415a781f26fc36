"""The teacher of the online paradigm: peers that train beside the student."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import torch
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn

from mmickd.losses.terms import Defaults, LossTerms
from mmickd.networks.dry_run import dry_run
from mmickd.networks.taps import feature_width
from mmickd.registry import TEACHERS
from mmickd.retrieval.memory import Memory
from mmickd.structures import Batch, Tapped
from mmickd.tasks import kind_of_task, task_for
from mmickd.teachers.base import MemoryFactory, PeerStep, Source, Teacher
from mmickd.teachers.models import build_network, check_task, model_config
from mmickd.teachers.normalization import InputConverter
from mmickd.teachers.peer import Peer, build_peer
from mmickd.teachers.run_context import RunContext
from mmickd.teachers.self_teacher import SelfTeacher
from mmickd.utils.config import ConfigLike, check_config_reference, find_config, load_config
from mmickd.utils.errors import ICKDError, OptionError
from mmickd.utils.modules import copy_model, is_sharded
from mmickd.utils.validation import check_choice, check_flag, check_integer

MAX_PEERS = 64
"""Maximum number of peers."""


@TEACHERS.register_module()
class OnlineTeacher(Teacher):
    """Peers that train beside the student; each network distils from all other networks.

    Network 0 is the student, network ``i`` is peer ``i - 1``. The loss of a network is the mean of
    its losses towards the other networks. Each network has queues, each peer has an optimizer.

    Source: the online paradigm of arXiv 2501.07040; with KD alone it is deep mutual learning (Zhang
    et al. 2018).

    Args:
        cfg: Config of the peers' model: a file, a Config, a dict, ``'mmseg::...'`` or
            ``'mmpretrain::...'``; None: the student's config. A list has one config for each peer.
        optim_wrapper: Config of each peer's optimizer wrapper; None: a copy of the run's.
        param_scheduler: Config of each peer's schedulers; None: a copy of the run's.
        num_peers: Number of peers; default 1, or the length of the list ``cfg``.
        losses: Losses of the peers, as the hook's ``losses``; None: the student's losses.
        layer: Name of the peers' classifier layer; 'auto' searches for it.
        validate: True validates the peers too, whenever the student is validated.
        resume: Behaviour of a run that resumes from a checkpoint without peers: 'strict' raises an
            error, 'fresh' starts with new peers.

    Attributes:
        peers (list[Peer]): The peers; empty before :meth:`open`.
        encoders (list[SelfTeacher]): Momentum encoders of the networks, student first: moving
            averages, whose rows in the queues are more consistent (MoCo, arXiv 1911.05722, section
            3.2). Empty before :meth:`open`, and without ``bank.momentum``.

    Raises:
        ICKDError: If an option is out of range.

    Example:
        >>> len(OnlineTeacher(num_peers=2).cfgs)
        2
    """

    is_frozen = False
    supports_bank_momentum = True
    state_key = "peers"

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
        check_integer(num_peers, 1, "num_peers", none=True, most=MAX_PEERS)
        check_choice(resume, ("strict", "fresh"), "resume")
        check_flag(validate, "validate")
        _check_dicts([optim_wrapper], "optim_wrapper", "a dict")
        _check_dicts(_as_list(param_scheduler), "param_scheduler", "a dict or a list of dicts")
        for reference in _as_list(cfg):
            if reference is not None:
                check_config_reference(reference, "cfg")
        if not isinstance(layer, str):
            raise OptionError("layer", layer, "it must be 'auto' or the name of a layer.")
        if losses is not None:
            LossTerms.build(losses, where="teacher.losses")
        cfgs = list(cfg) if isinstance(cfg, (list, tuple)) else [cfg] * (num_peers or 1)
        if not cfgs or len(cfgs) != (num_peers or len(cfgs)):
            raise ICKDError(
                f"teacher.num_peers={num_peers} and teacher.cfg gives {len(cfgs)} configs: omit "
                "num_peers, or give one config for all."
            )
        self.cfgs, self.optim_wrapper, self.param_scheduler = cfgs, optim_wrapper, param_scheduler
        self.layer, self.resume, self.losses = layer, resume, losses
        self._validates = validate
        self.peers: list[Peer] = []
        self.encoders: list[SelfTeacher] = []
        self._peer_steps: list[PeerStep] = []
        self._logged: dict[str, Tensor] = {}

    def check_files(self) -> None:
        """See :meth:`Teacher.check_files`."""
        for cfg in self.cfgs:
            if isinstance(cfg, (str, os.PathLike)):
                find_config(cfg, "teacher.cfg")

    def build(self, run: RunContext) -> None:
        """See :meth:`Teacher.build`."""
        if run.tools is None or is_sharded(run.student):
            raise ICKDError(
                "OnlineTeacher supports mmengine's Runner in one process or with DDP: remove "
                "FlexibleRunner and FSDP from the config."
            )
        self._run = run
        peers = [self._build_network(cfg, number) for number, cfg in enumerate(self.cfgs)]
        self._networks = [run.student, *peers]

    def _build_network(self, cfg: Any, number: int) -> nn.Module:
        """Return the network of a peer with new weights."""
        student, tools = self._run.student, self._run.tools
        assert tools is not None
        loaded = tools.run_cfg if cfg is None else load_config(cfg, "teacher.cfg")
        torch.manual_seed(tools.seed(f"weights {number}"))
        network = build_network(model_config(loaded), loaded, cfg)
        network.init_weights()  # type: ignore[operator]
        if tools.world_size == 1:
            network = revert_sync_batchnorm(network)
        if kind_of_task(network) is not kind_of_task(student):
            raise ICKDError(
                f"peer {number} is a {type(network).__name__}, the student a "
                f"{type(student).__name__}: both must be classifiers, or both segmenters."
            )
        check_task(network, f"peer {number}")
        return network.to(self._run.device)

    def dry_run(self, batch: Batch, student_layer: str) -> None:
        """See :meth:`Teacher.dry_run`."""
        self._layers, self._class_counts = [student_layer], {}
        remedy = "Set teacher.cfg to a model for images of this size."
        for number, network in enumerate(self._networks[1:]):
            owner, usual = f"peer {number}", kind_of_task(network).classifier_names(network)
            converter = InputConverter.between(self._run.student, network).to(self._run.device)
            converted = Batch(converter(batch.inputs.float()), batch.data_samples)
            layer, self._class_counts[owner] = dry_run(
                network, self.layer, usual, converted, owner, "teacher.layer", remedy
            )
            self._layers.append(layer)

    @property
    def class_counts(self) -> Mapping[str, int]:
        """See :meth:`Teacher.class_counts`."""
        return self._class_counts

    def all_terms(self, students: LossTerms, defaults: Defaults) -> Sequence[LossTerms]:
        """See :meth:`Teacher.all_terms`."""
        if self.losses is None:
            self._terms = students
            return [students]
        self._terms = LossTerms.build(self.losses, defaults, "teacher.losses")
        return [students, self._terms]

    def open(self, make_memory: MemoryFactory, momentum: float | None) -> None:
        """See :meth:`Teacher.open`."""
        networks, layers = self._networks, self._layers
        pairs = list(zip(networks, layers, strict=True))
        memories = [make_memory(feature_width(network, layer)) for network, layer in pairs]
        configs = self._run, self.optim_wrapper, self.param_scheduler
        self.peers = [
            build_peer(f"peer{number}", network, layer, *configs)
            for number, (network, layer) in enumerate(pairs[1:])
        ]
        if momentum is not None and any(memory.banks for memory in memories):
            self.encoders = [self._build_encoder(*pair, momentum) for pair in pairs]
        names = ["student", *(peer.name for peer in self.peers)]
        self._memories = dict(zip(names, memories, strict=True))
        self._tasks = [[task_for(learner, source) for source in networks] for learner in networks]

    def _build_encoder(self, network: nn.Module, layer: str, momentum: float) -> SelfTeacher:
        encoder = SelfTeacher(momentum=momentum)
        encoder.adopt(copy_model(network), self._run.student, self._run.device)
        encoder.attach(layer)
        return encoder

    @property
    def layers(self) -> str:
        """See :meth:`Teacher.layers`."""
        return ", ".join(f"{peer.tap.layer} ({peer.name})" for peer in self.peers)

    @property
    def memories(self) -> Mapping[str, Memory]:
        """See :meth:`Teacher.memories`."""
        return self._memories

    def forward(self, batch: Batch, student: Tapped) -> Sequence[Source]:
        """Run the peers; see :meth:`Teacher.forward`."""
        passes = [peer.forward(batch) for peer in self.peers]
        outputs = [student.detach(), *(tapped.detach() for _, tapped in passes)]
        # An encoder runs at most once in a step, for all networks that distil from it.
        encoders = [cache(partial(encoder, batch.inputs)) for encoder in self.encoders]
        sources = [self._sources_of(i, outputs, encoders) for i in range(len(outputs))]
        learners = zip(self.peers, passes, sources[1:], strict=True)
        self._peer_steps = [
            PeerStep(tapped, losses, self._terms, networks, partial(self._learn, peer), peer.name)
            for peer, (losses, tapped), networks in learners
        ]
        return sources[0]

    def _sources_of(
        self, learner: int, outputs: Sequence[Tapped], encoders: Sequence[Callable[[], Tapped]]
    ) -> list[Source]:
        """Return all networks except the learner as sources.

        Args:
            learner: Index of the network that distils from them.
            outputs: Features and logits of each network, without gradients.
            encoders: Functions that return the outputs of the momentum encoders; empty without
                momentum.
        """
        memories = list(self._memories.values())
        return [
            Source(
                self._tasks[learner][i],
                memories[i],
                partial(outputs.__getitem__, i),
                encoders[i] if encoders else None,
            )
            for i in range(len(outputs))
            if i != learner
        ]

    def _learn(self, peer: Peer, losses: dict[str, Any]) -> None:
        self._logged.update(peer.learn(losses))

    def peer_steps(self) -> Sequence[PeerStep]:
        """See :meth:`Teacher.peer_steps`."""
        steps, self._peer_steps = self._peer_steps, []
        return steps

    def after_step(self, student: nn.Module, ends_epoch: bool) -> dict[str, Tensor]:
        """See :meth:`Teacher.after_step`."""
        for encoder, network in zip(self.encoders, self._networks, strict=False):
            encoder.average(network)
        for peer in self.peers:
            peer.step_schedulers(by_epoch=False)
        logged, self._logged = self._logged, {}
        return logged

    def after_epoch(self) -> None:
        """See :meth:`Teacher.after_epoch`."""
        for peer in self.peers:
            peer.step_schedulers(by_epoch=True)

    def validate(self, loop: Any) -> dict[str, Any]:
        """See :meth:`Teacher.validate`; metrics as ``peer0.<metric>``."""
        metrics: dict[str, Any] = {}
        for peer in self.peers if self._validates else []:
            metrics.update(peer.validate(loop.dataloader, loop.evaluator))
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Return the states of peers, encoders and queues."""
        return {
            "peers": [peer.state_dict() for peer in self.peers],
            "encoders": [encoder.own_state() for encoder in self.encoders],
            "banks": {
                f"{name}.{level}": queue
                for name, memory in self._memories.items()
                for level, queue in memory.state_dict().items()
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See :meth:`Teacher.load_state_dict`."""
        loaders = {
            "peers": [peer.load_state_dict for peer in self.peers],
            "encoders": [encoder.load_own_state for encoder in self.encoders],
        }
        for key, loads in loaders.items():
            saved = state.get(key, [])
            if len(saved) != len(loads):
                raise ICKDError(
                    f"the resumed checkpoint holds {len(saved)} {key}, the config has "
                    f"{len(loads)}. Resume with the config that it was trained with."
                )
            for load, network_state in zip(loads, saved, strict=True):
                load(network_state)
        for name, memory in self._memories.items():
            memory.load_state_dict(state["banks"], f"{name}.")


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _check_dicts(values: Sequence[Any], option: str, expected: str) -> None:
    """Raise ``OptionError`` for a value that is neither a dict with keys nor None."""
    for value in values:
        if value is not None and (not isinstance(value, Mapping) or not value):
            raise OptionError(option, value, f"it must be {expected}, or None.")
