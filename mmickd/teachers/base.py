"""The contract of the hook's ``teacher``, from its construction to the end of a run."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from mmickd.losses.terms import Defaults, LossTerms
from mmickd.retrieval.memory import Memory
from mmickd.structures import Batch, Tapped
from mmickd.tasks import Task
from mmickd.teachers.run_context import RunContext

if TYPE_CHECKING:
    from mmickd.teachers.network import NetworkTeacher

MemoryFactory = Callable[[int], Memory]
"""Function of a feature width that returns a memory: the frozen bank, or empty queues."""


@dataclass(frozen=True)
class Source:
    """A network that the student or a peer distils from in a step, with its memory.

    Args:
        task: Task adapter of the learner (the student or the peer) and this network.
        memory: Features and logits of this network for other images.
        outputs: Function that returns features and logits of this network for the batch, without
            gradients. It may run the network at its first call, as not every loss needs that.
        memory_outputs: Function that returns the outputs for the queries and new rows of the
            memory; None: ``outputs``.

    Example:
        >>> from mmickd.retrieval import TorchRetriever
        >>> from mmickd.tasks import ClassificationTask
        >>> import torch
        >>> tapped = Tapped(torch.zeros(2, 8), torch.zeros(2, 3))
        >>> source = Source(ClassificationTask(), Memory({}, TorchRetriever()), lambda: tapped)
        >>> source.outputs().logits.shape
        torch.Size([2, 3])
    """

    task: Task
    memory: Memory
    outputs: Callable[[], Tapped]
    memory_outputs: Callable[[], Tapped] | None = None


@dataclass(frozen=True)
class PeerStep:
    """Training step of a peer: a network of the teacher that trains beside the student.

    Args:
        outputs: Features and logits of the peer for the batch, with gradients.
        task_losses: Task losses of the peer for the batch.
        terms: Distillation losses of the peer.
        sources: Networks that the peer distils from.
        learn: Function of all losses of the peer that makes a step of its optimizer.
        name: Name of the peer in the log.

    Example:
        >>> import torch
        >>> outputs = Tapped(torch.zeros(2, 8), torch.zeros(2, 3))
        >>> terms = LossTerms.build(dict(kd=None))
        >>> step = PeerStep(outputs, {}, terms, [], learn=lambda losses: None)
        >>> [term.name for term in step.terms]
        ['picd', 'nicd']
    """

    outputs: Tapped
    task_losses: dict[str, Any]
    terms: LossTerms
    sources: Sequence[Source]
    learn: Callable[[dict[str, Any]], None]
    name: str = "peer"


class Teacher(metaclass=ABCMeta):
    """Base class of teachers; a teacher builds, runs, saves and validates its networks.

    A run calls the methods in the order in which they are defined. No network of the teacher is
    part of the student, its optimizer or its EMA. A subclass registered in
    :data:`mmickd.registry.TEACHERS` can be named in the hook's ``teacher``; the arguments of its
    ``__init__`` are the options. For a teacher with one network, derive from
    :class:`~mmickd.teachers.NetworkTeacher`: only its ``make_network`` is left to implement.

    Attributes:
        is_frozen (bool): True if the networks never change. The bank is then built once and cached;
            otherwise it consists of queues.
        lags_student (bool): True if the teacher lags behind the student early in training, so that
            distilling from it slows the student down.
        supports_bank_momentum (bool): True if the option ``bank.momentum`` has an effect.
        resume (str): Behaviour of a run that resumes from a checkpoint without this teacher:
            'strict' raises an error, 'fresh' starts with a new teacher.
        state_key (str): Key of ``state_dict()`` by which a checkpoint with this kind of teacher is
            recognised.
        classes (tuple[str, ...] | None): Class names of the teacher's training set, in order; None
            if unknown. Set by :meth:`build`.

    Example:
        >>> from mmickd.registry import TEACHERS, registered
        >>> all(issubclass(kind, Teacher) for kind in registered(TEACHERS).values())
        True
    """

    is_frozen: bool
    lags_student: bool = False
    supports_bank_momentum: bool = False
    resume: str = "strict"
    state_key: str = "teacher"
    classes: tuple[str, ...] | None = None

    def check_files(self) -> None:  # noqa: B027 (optional)
        """Check that all files exist, early in the run.

        Raises:
            ICKDError: If a file does not exist.
        """

    def fetch(self) -> None:  # noqa: B027 (optional)
        """Download files; all ranks call this together.

        Raises:
            ICKDError: On every rank, if a download fails on one.
        """

    @abstractmethod
    def build(self, run: RunContext) -> None:
        """Build the networks.

        Raises:
            ICKDError: If a network cannot be built, or does not support this kind of run.
        """

    @abstractmethod
    def dry_run(self, batch: Batch, student_layer: str) -> None:
        """Run each network once on a training batch.

        Args:
            batch: Training batch, normalised for the student.
            student_layer: Name of the student's classifier layer.

        Raises:
            ICKDError: If a classifier layer is not found, or a network cannot run on such images
                or outputs NaN or Inf.
        """

    @property
    def frozen_network(self) -> NetworkTeacher | None:
        """Network that builds a frozen bank; None if the teacher learns and fills queues."""
        return None

    @property
    @abstractmethod
    def class_counts(self) -> Mapping[str, int]:
        """Number of classes of each network, by the network's name for messages."""

    def all_terms(self, students: LossTerms, defaults: Defaults) -> Sequence[LossTerms]:
        """Return the distillation losses of the student and of the peers.

        Args:
            students: Losses of the student; the first item of the result.
            defaults: Default options of the task, for the losses of peers.
        """
        return [students]

    @abstractmethod
    def open(self, make_memory: MemoryFactory, momentum: float | None) -> None:
        """Prepare for the first step.

        Args:
            make_memory: Function that returns the memory of each source.
            momentum: Value of ``bank.momentum``.

        Raises:
            ICKDError: If an optimizer or a scheduler of a network cannot be built.
        """

    @property
    @abstractmethod
    def layers(self) -> str:
        """Names of the classifier layers, for the log."""

    @property
    @abstractmethod
    def memories(self) -> Mapping[str, Memory]:
        """All memories by the name of their network; available after :meth:`open`."""

    @abstractmethod
    def forward(self, batch: Batch, student: Tapped) -> Sequence[Source]:
        """Process a training batch.

        Args:
            batch: Batch of the student, normalised for the student.
            student: Features and logits of the student, with gradients.

        Returns:
            Networks that the student distils from; empty if there is none yet.
        """

    def peer_steps(self) -> Sequence[PeerStep]:
        """Return the training steps of the peers for the batch of the last :meth:`forward`."""
        return ()

    def after_step(self, student: nn.Module, ends_epoch: bool) -> dict[str, Tensor]:
        """Update the networks after a step of the student, when the memories are filled.

        Returns:
            Values to log, by name.
        """
        return {}

    def after_epoch(self) -> None:  # noqa: B027 (optional)
        """Update what counts epochs (schedulers), after an epoch of an epoch-based loop."""

    def validate(self, loop: Any) -> dict[str, Any]:
        """Return metrics of the networks, after the student was validated.

        Args:
            loop: Validation loop of the run; its evaluator must be empty again afterwards.
        """
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed run needs, as tensors and plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 (optional)
        """Restore the result of :meth:`state_dict`.

        Raises:
            ICKDError: If the state belongs to another teacher or to other queues.
        """
