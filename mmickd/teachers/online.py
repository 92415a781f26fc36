"""The teachers of the online paradigm: peers that learn with the student."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
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
from mmickd.teachers.models import build_network, model_config
from mmickd.teachers.momentum_encoder import MomentumEncoder
from mmickd.teachers.normalization import InputConverter
from mmickd.teachers.peer import Peer, trained_peer
from mmickd.teachers.run_context import RunContext, TrainingTools
from mmickd.utils.config import ConfigLike, check_config_reference, find_config, load_config
from mmickd.utils.errors import ICKDError, OptionError
from mmickd.utils.modules import is_sharded
from mmickd.utils.validation import check_choice, check_flag, check_integer

MOST_PEERS = 64
"""Networks beside the student."""


@TEACHERS.register_module()
class OnlineTeacher(Teacher):
    """Networks that train beside the student, each the others' teacher.

    Network 0 is the student, network ``i`` the peer ``i - 1``. What a network learns from several
    others is averaged over them. Each has queues of its own; the peers take the steps of their own
    optimizers.

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
        check_integer(num_peers, 1, "num_peers", none=True, most=MOST_PEERS)
        check_choice(resume, ("strict", "fresh"), "resume")
        check_flag(validate, "validate")
        _check_kind([optim_wrapper], "optim_wrapper", Mapping, "a dict")
        schedulers = _listed(param_scheduler)
        _check_kind(schedulers, "param_scheduler", Mapping, "a dict or a list of dicts")
        for one in _listed(cfg):
            if one is not None:
                check_config_reference(one, "cfg")
        if not isinstance(layer, str):
            raise OptionError("layer", layer, "it must be 'auto' or the name of a layer.")
        if losses is not None:
            LossTerms.build(losses, where="teacher.losses")
        cfgs = list(cfg) if isinstance(cfg, (list, tuple)) else [cfg] * (num_peers or 1)
        if not cfgs or len(cfgs) != (num_peers or len(cfgs)):
            raise ICKDError(
                f"teacher.num_peers={num_peers} and teacher.cfg gives {len(cfgs)} configs: leave "
                "num_peers out, or give one config for all."
            )
        self.cfgs, self.optim_wrapper, self.param_scheduler = cfgs, optim_wrapper, param_scheduler
        self.layer, self.resume, self.losses = layer, resume, losses
        self._validates = validate
        self.peers: list[Peer] = []
        self.encoders: list[MomentumEncoder] = []
        self._lessons: list[PeerStep] = []
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
                "OnlineTeacher trains its peers by mmengine's Runner, alone or with DDP: leave "
                "FlexibleRunner and FSDP out of the config."
            )
        self._run, self._tools = run, run.tools
        peers = [self._build_peer(cfg, i, run.tools) for i, cfg in enumerate(self.cfgs)]
        self._networks = [run.student, *peers]
        for number, peer in enumerate(peers):
            if kind_of_task(peer) is not kind_of_task(run.student):
                raise ICKDError(
                    f"peer {number} is a {type(peer).__name__}, the student a "
                    f"{type(run.student).__name__}: both must be classifiers, or both segmenters."
                )
            try:
                task_for(peer, peer).check_student(peer)
            except ICKDError as error:
                raise ICKDError(f"peer {number}: {error}") from error

    def _build_peer(self, cfg: Any, number: int, tools: TrainingTools) -> nn.Module:
        """A new network with weights of its own."""
        loaded = tools.run_cfg if cfg is None else load_config(cfg, "teacher.cfg")
        torch.manual_seed(tools.seed(f"weights {number}"))
        model = build_network(model_config(loaded), loaded, cfg)
        model.init_weights()  # type: ignore[operator]
        if tools.world_size == 1:
            model = revert_sync_batchnorm(model)
        return model.to(self._run.device)

    def dry_run(self, batch: Batch, student_layer: str) -> None:
        """See :meth:`Teacher.dry_run`."""
        self._layers, self._class_counts = [student_layer], {}
        remedy = "Give a model for such images in teacher.cfg."
        for number, peer in enumerate(self._networks[1:]):
            owner, usual = f"peer {number}", kind_of_task(peer).classifier_names(peer)
            converter = InputConverter.between(self._run.student, peer).to(self._run.device)
            own = Batch(converter(batch.inputs.float()), batch.data_samples)
            layer, self._class_counts[owner] = dry_run(
                peer, self.layer, usual, own, owner, "teacher.layer", remedy
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

    def open(self, remember: MemoryFactory, momentum: float | None) -> None:
        """See :meth:`Teacher.open`."""
        networks, layers = self._networks, self._layers
        memories = [remember(feature_width(n, at)) for n, at in zip(networks, layers, strict=True)]
        self.peers = [
            trained_peer(f"peer{i}", network, layer, self._run, self._tools, self._recipe)
            for i, (network, layer) in enumerate(zip(networks[1:], layers[1:], strict=True))
        ]
        if momentum is not None and any(memory.banks for memory in memories):
            converters = [None, *(peer.converter for peer in self.peers)]
            self.encoders = [
                MomentumEncoder(network, layer, momentum, converter, self._run.device)
                for network, layer, converter in zip(networks, layers, converters, strict=True)
            ]
        names = ["student", *(peer.name for peer in self.peers)]
        self._memories = dict(zip(names, memories, strict=True))
        self._tasks = [[task_for(learner, source) for source in networks] for learner in networks]

    @property
    def _recipe(self) -> dict[str, Any]:
        """Configs of what trains a peer, by option."""
        return {"optim_wrapper": self.optim_wrapper, "param_scheduler": self.param_scheduler}

    @property
    def layers(self) -> str:
        """See :meth:`Teacher.layers`."""
        return ", ".join(f"{peer.tap.layer} ({peer.name})" for peer in self.peers)

    @property
    def memories(self) -> Mapping[str, Memory]:
        """See :meth:`Teacher.memories`."""
        return self._memories

    def forward(self, batch: Batch, student: Tapped) -> Sequence[Source]:
        """See :meth:`Teacher.forward`; the peers run."""
        own = [peer.forward(batch) for peer in self.peers]
        said = [student.detach(), *(answer.detach() for _, answer in own)]
        self._lessons = [
            PeerStep(
                answer,
                losses,
                self._terms,
                self._others(i, said, batch),
                self._learn(peer),
                peer.name,
            )
            for i, (peer, (losses, answer)) in enumerate(zip(self.peers, own, strict=True), 1)
        ]
        return self._others(0, said, batch)

    def _others(self, learner: int, said: Sequence[Tapped], batch: Batch) -> list[Source]:
        """All networks but one, as the sources of that one."""
        memories = list(self._memories.values())
        recalls = [partial(encoder, batch.inputs) for encoder in self.encoders]
        return [
            Source(
                self._tasks[learner][other],
                memories[other],
                partial(_given, said[other]),
                recalls[other] if recalls else None,
            )
            for other in range(len(said))
            if other != learner
        ]

    def _learn(self, peer: Peer) -> Any:
        return lambda losses: self._logged.update(peer.learn(losses))

    def peer_steps(self) -> Sequence[PeerStep]:
        """See :meth:`Teacher.peer_steps`."""
        lessons, self._lessons = self._lessons, []
        return lessons

    def after_step(self, student: nn.Module, ends_epoch: bool) -> dict[str, Tensor]:
        """See :meth:`Teacher.after_step`."""
        for encoder, network in zip(self.encoders, self._networks, strict=False):
            encoder.follow(network)
        for peer in self.peers:
            peer.step_schedulers(by_epoch=False)
        logged, self._logged = self._logged, {}
        return logged

    def after_epoch(self) -> None:
        """Step the peers' schedulers that count epochs."""
        for peer in self.peers:
            peer.step_schedulers(by_epoch=True)

    def validate(self, loop: Any) -> dict[str, Any]:
        """See :meth:`Teacher.validate`; metrics as ``peer0.<metric>``."""
        found: dict[str, Any] = {}
        for peer in self.peers if self._validates else []:
            metrics = peer.validate(loop.dataloader, loop.evaluator)
            found.update({f"{peer.name}.{name}": value for name, value in metrics.items()})
        return found

    def state_dict(self) -> dict[str, Any]:
        """Peers with their optimizers, encoders, and all queues."""
        return {
            "peers": [peer.state_dict() for peer in self.peers],
            "encoders": [encoder.state_dict() for encoder in self.encoders],
            "banks": {
                f"{name}.{level}": queue
                for name, memory in self._memories.items()
                for level, queue in memory.state_dict().items()
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See :meth:`Teacher.load_state_dict`."""
        learners: dict[str, Sequence[Any]] = {"peers": self.peers, "encoders": self.encoders}
        for kind, own in learners.items():
            saved = state.get(kind, [])
            if len(saved) != len(own):
                raise ICKDError(
                    f"the resumed checkpoint holds {len(saved)} {kind}, the config has {len(own)}. "
                    "Resume with the config that it was trained with."
                )
            for learner, its_state in zip(own, saved, strict=True):
                learner.load_state_dict(its_state)
        for name, memory in self._memories.items():
            memory.load_state_dict(state["banks"], f"{name}.")


def _given(answer: Tapped) -> Tapped:
    return answer


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _check_kind(values: Sequence[Any], option: str, kinds: Any, words: str) -> None:
    """Refuse what is not of these kinds, and not None."""
    for value in values:
        if value is not None and (not isinstance(value, kinds) or value == {}):
            raise OptionError(option, value, f"it must be {words}, or None.")
