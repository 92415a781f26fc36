"""Everything between a built run and its first step with peers: checks, peers, queues."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.model import revert_sync_batchnorm
from torch import nn

from mmickd.banks.images import BankImages, check_first_sample, choose_pipeline
from mmickd.banks.queue_bank import QueueBank
from mmickd.checks import (
    check_classes,
    check_identity,
    explained,
    probe_student,
    warn_of_early_weights,
    warn_of_mixing,
)
from mmickd.distiller import Distiller
from mmickd.losses.terms import LossTerms
from mmickd.mutual import LiveTeacher, MutualDistiller
from mmickd.options import HookOptions
from mmickd.run_parts import PeerTools, RunParts
from mmickd.tasks import make_task
from mmickd.teachers.momentum_encoder import MomentumEncoder
from mmickd.teachers.normalization import InputConverter, InputNormalization
from mmickd.teachers.offline import build_model, scope_of
from mmickd.teachers.online import OnlineTeacher
from mmickd.teachers.peer import Peer
from mmickd.utils.config import load_config
from mmickd.utils.distributed import failing_together
from mmickd.utils.errors import ICKDError
from mmickd.utils.modules import get_module, is_sharded


@dataclass(frozen=True)
class _Checked:
    """A run that was found right, with what was built for the look.

    Args:
        networks: the student, then the peers.
        layers: the classifier layer of each.
        num_classes: of all.
        levels: of the in-context terms.
        terms: of each network.
        capacity: rows per class of a queue; 0 if no term retrieves.
    """

    networks: list[nn.Module]
    layers: list[str]
    num_classes: int
    levels: tuple[str, ...]
    terms: list[LossTerms]
    capacity: int


def prepare_mutual(
    options: HookOptions, teacher: OnlineTeacher, run: RunParts
) -> tuple[MutualDistiller, str]:
    """Check everything, build the peers and their queues.

    Returns:
        The distiller, and the name of the student's classifier layer.

    Raises:
        ICKDError: with what is wrong, where, and what to do.
    """
    tools = run.peer_tools
    if tools is None or is_sharded(run.model):
        raise ICKDError(
            "OnlineTeacher trains its peers by mmengine's Runner, alone or with DDP: leave "
            "FlexibleRunner and FSDP out of the config."
        )
    with failing_together():
        checked = _check(options, teacher, run, tools)
    networks, layers = checked.networks, checked.layers
    banks = [_queues(checked, net, own, run) for net, own in zip(networks, layers, strict=True)]
    peers = [
        _trained(f"peer{i}", networks[i + 1], layers[i + 1], teacher, tools, run)
        for i in range(len(teacher.cfgs))
    ]
    live = [LiveTeacher() for _ in networks]
    encoders = []
    if options.bank.momentum is not None and checked.capacity:
        converters = [None, *(peer.converter for peer in peers)]
        encoders = [
            MomentumEncoder(net, own, options.bank.momentum, converter, run.device)
            for net, own, converter in zip(networks, layers, converters, strict=True)
        ]
    pairs = {
        (learner, other): Distiller(
            teacher=live[other],
            task=make_task(networks[learner], networks[other]),
            levels=checked.levels,
            banks=dict(banks[other]),
            search=options.retriever.search,
            terms=checked.terms[learner],
            anchors=options.anchors,
            stored={},
            exclude_same_id=options.exclude_same_id,
            seed=options.bank.seed,
            device=run.device,
            encoder=encoders[other] if encoders else None,
        )
        for learner in range(len(networks))
        for other in range(len(networks))
        if learner != other
    }
    return MutualDistiller(peers, pairs, live, banks, encoders), layers[0]


def _check(
    options: HookOptions, teacher: OnlineTeacher, run: RunParts, tools: PeerTools
) -> _Checked:
    """Build the peers and let them, the student and the data meet for one image."""
    images = BankImages(
        run.train_dataset,
        choose_pipeline(options.bank.pipeline, run.train_dataset, run.val_dataset),
    )
    task = make_task(run.model, run.model)
    sample = check_first_sample(images, task.has_label)
    layer, width = probe_student(run.model, options.layer, sample)
    networks, layers = [run.model], [layer]
    for number, cfg in enumerate(teacher.cfgs):
        peer = _build_peer(cfg, tools, run.device, tools.seed(f"weights {number}"))
        owner = f"peer {number}"
        with explained(owner, sample, "Give a model for such images in teacher.cfg."):
            name, peer_width = probe_student(peer, teacher.layer, sample, owner, "teacher.layer")
        if hasattr(peer, "decode_head") is not hasattr(run.model, "decode_head"):
            raise ICKDError(
                f"{owner} is a {type(peer).__name__}, the student a "
                f"{type(run.model).__name__}: both must be classifiers, or both segmenters."
            )
        check_classes(width, peer_width, None, run.train_dataset, owner)
        task.check_student(peer)
        networks.append(peer)
        layers.append(name)
    task.check_student(run.model)
    levels = options.resolve_levels(task.levels)
    students = peers_terms = LossTerms.of(options.losses, task.kd_temperature)
    if teacher.losses is not None:
        peers_terms = LossTerms.of(teacher.losses, task.kd_temperature, "teacher.losses")
    capacity = max(options.check_queue(terms) for terms in (students, peers_terms))
    if not (students.needs_bank or peers_terms.needs_bank):
        capacity = 0
    elif options.exclude_same_id:
        check_identity(run.train_dataset, sample)
    warn_of_mixing(run.model)
    warn_of_early_weights(students, ["nicd"])
    if peers_terms is not students:
        warn_of_early_weights(peers_terms, ["nicd"], "teacher.losses")
    terms = [students] + [peers_terms] * len(teacher.cfgs)
    return _Checked(networks, layers, width, levels, terms, capacity)


def _queues(
    checked: _Checked, network: nn.Module, layer: str, run: RunParts
) -> dict[str, QueueBank]:
    """The queues of one network by level; none if no term retrieves."""
    if not checked.capacity:
        return {}
    shape = checked.num_classes, checked.capacity, _feature_width(network, layer)
    return {level: QueueBank(*shape, device=run.device) for level in checked.levels}


def _build_peer(cfg: Any, tools: PeerTools, device: torch.device, seed: int) -> nn.Module:
    """A new network with weights of its own."""
    loaded = tools.run_cfg if cfg is None else load_config(cfg, "teacher.cfg")
    model_cfg = copy.deepcopy(loaded.model.to_dict())
    if loaded.get("data_preprocessor") is not None:
        model_cfg.setdefault("data_preprocessor", loaded.data_preprocessor.to_dict())
    if "decode_head" not in model_cfg:
        model_cfg.pop("train_cfg", None)  # batch augmentation, which the student's batch has had
    torch.manual_seed(seed)
    model = build_model(model_cfg, scope_of(loaded, cfg))
    model.init_weights()  # type: ignore[operator]
    if tools.world_size == 1:
        model = revert_sync_batchnorm(model)
    return model.to(device)


def _trained(
    name: str,
    network: nn.Module,
    layer: str,
    teacher: OnlineTeacher,
    tools: PeerTools,
    run: RunParts,
) -> Peer:
    """A peer with all that trains it."""
    option = "optim_wrapper"
    try:
        optim_wrapper = tools.optim_wrapper(network, teacher.optim_wrapper)
        option = "param_scheduler"
        schedulers = tools.param_schedulers(optim_wrapper, teacher.param_scheduler)
    except Exception as error:  # whatever mmengine or torch say of such a config
        raise ICKDError(
            f"teacher.{option} cannot be built for {name} "
            f"({type(error).__name__}: {str(error)[:300]}). Write it as the run's own "
            f"{option}, or leave it out for a copy of that."
        ) from error
    waiting = [type(s).__name__ for s in schedulers if getattr(s, "need_val_args", False)]
    if waiting:
        raise ICKDError(
            f"{waiting[0]} waits for metrics of validation, which the schedulers of peers do not "
            "get. Give another scheduler in teacher.param_scheduler."
        )
    own = InputNormalization.of(network.data_preprocessor)  # type: ignore[arg-type]
    students = InputNormalization.of(run.model.data_preprocessor)  # type: ignore[arg-type]
    converter = InputConverter(students, own).to(run.device)
    seed = tools.seed(name)
    return Peer(name, tools.wrap(network), optim_wrapper, schedulers, layer, converter, seed)


def _feature_width(network: nn.Module, layer: str) -> int:
    module = get_module(network, layer)
    width = getattr(module, "in_features", None) or getattr(module, "in_channels", None)
    assert width is not None, layer
    return int(width)
