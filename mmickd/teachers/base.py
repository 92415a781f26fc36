"""The contract of the hook's ``teacher``, from the config to the last step of a run."""

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
"""Makes the memory of a source, of features of a width: of the frozen bank, or of empty queues."""


@dataclass(frozen=True)
class Source:
    """Somebody to learn from in a step.

    Args:
        task: adapter of the learner and this source.
        memory: what it remembers of other images.
        outputs: gives what it says of the batch, without gradients; its network runs for the first
            who asks.
        memory_outputs: gives what its memory is asked by and fed with; None: the answer.

    Example:
        >>> from mmickd.retrieval import TorchRetriever
        >>> from mmickd.tasks import ClassificationTask
        >>> import torch
        >>> said = Tapped(torch.zeros(2, 8), torch.zeros(2, 3))
        >>> source = Source(ClassificationTask(), Memory({}, TorchRetriever()), lambda: said)
        >>> source.outputs().logits.shape
        torch.Size([2, 3])
    """

    task: Task
    memory: Memory
    outputs: Callable[[], Tapped]
    memory_outputs: Callable[[], Tapped] | None = None


@dataclass(frozen=True)
class PeerStep:
    """A step's lesson for a network of the teacher's own, which learns beside the student.

    Args:
        outputs: what it says of the batch, with gradients.
        task_losses: its own losses of the batch.
        terms: what it learns from its sources.
        sources: whom it learns from.
        learn: takes all its losses, and a step of its optimizer.
        name: of the network, in the log.

    Example:
        >>> import torch
        >>> said = Tapped(torch.zeros(2, 8), torch.zeros(2, 3))
        >>> terms = LossTerms.build(dict(kd=None))
        >>> lesson = PeerStep(said, {}, terms, [], learn=lambda losses: None)
        >>> [term.name for term in lesson.terms]
        ['picd', 'nicd']
    """

    outputs: Tapped
    task_losses: dict[str, Any]
    terms: LossTerms
    sources: Sequence[Source]
    learn: Callable[[dict[str, Any]], None]
    name: str = "peer"


class Teacher(metaclass=ABCMeta):
    """Whoever the student learns from: it builds, runs, saves and validates its own networks.

    The methods stand in the order of their calls. None of its networks is part of the student, its
    optimizer or its averages. Registered in :data:`mmickd.registry.TEACHERS` it can stand in the
    hook's ``teacher``; arguments of ``__init__`` are options of the config.
    :class:`~mmickd.teachers.NetworkTeacher` is all of it for one network that is not trained here.

    Attributes:
        is_frozen (bool): whether it never changes, so that a bank of it can be built once and
            cached; else its memory are queues.
        lags_student (bool): whether at first it says what the student said before, so that
            terms that believe it hold the student back.
        supports_bank_momentum (bool): whether ``bank.momentum`` means something to it.
        resume (str): what a resumed run does whose checkpoint holds no such teacher: 'strict'
            stops, 'fresh' begins anew.
        state_key (str): key that its ``state_dict`` has, and that of another kind has not.

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

    def check_files(self) -> None:  # noqa: B027 (some have none)
        """Look whether its files are there; building comes much later in a run.

        Raises:
            ICKDError: if one is not.
        """

    def fetch(self) -> None:  # noqa: B027 (some need none)
        """Download what is to be downloaded; all ranks call this together.

        Raises:
            ICKDError: on every rank, if one cannot download it.
        """

    @abstractmethod
    def build(self, run: RunContext) -> None:
        """Make the networks.

        Raises:
            ICKDError: if one cannot be made, or not in such a run.
        """

    @abstractmethod
    def dry_run(self, batch: Batch, student_layer: str) -> None:
        """Run the networks once, on a training batch.

        Args:
            batch: as the student gets it.
            student_layer: the student's classifier layer.

        Raises:
            ICKDError: if a classifier layer is not found, or one cannot run on such images or gives
                NaN or Inf for them.
        """

    @property
    def frozen_network(self) -> NetworkTeacher | None:
        """Network that builds a frozen bank; None: the teacher learns and fills queues."""
        return None

    @property
    @abstractmethod
    def class_counts(self) -> Mapping[str, int]:
        """How many classes each network tells apart, by its name for messages."""

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the classes that it was trained on, in order; None if not known."""
        return None

    def all_terms(self, students: LossTerms, defaults: Defaults) -> Sequence[LossTerms]:
        """The terms of all that learn, the student's first; all of them ask the memories.

        Args:
            students: its terms.
            defaults: of the task, for terms of others.
        """
        return [students]

    @abstractmethod
    def open(self, remember: MemoryFactory, momentum: float | None) -> None:
        """Be ready for the first step.

        Args:
            remember: makes the memory of each source.
            momentum: ``bank.momentum``.

        Raises:
            ICKDError: if what trains a network cannot be built.
        """

    @property
    @abstractmethod
    def layers(self) -> str:
        """Classifier layers, for the log."""

    @property
    @abstractmethod
    def memories(self) -> Mapping[str, Memory]:
        """All memories, by the name of their source; after :meth:`open`."""

    @abstractmethod
    def forward(self, batch: Batch, student: Tapped) -> Sequence[Source]:
        """See the student's batch.

        Args:
            batch: as the student gets it.
            student: what the student says of it, with gradients.

        Returns:
            Whom the student learns from; nobody if there is nothing to learn yet.
        """

    def peer_steps(self) -> Sequence[PeerStep]:
        """Lessons for networks of its own, about the batch that was seen last."""
        return ()

    def after_step(self, student: nn.Module, ends_epoch: bool) -> dict[str, Tensor]:
        """Learn from the student's step, after the memories were fed.

        Returns:
            What there is to log, by name.
        """
        return {}

    def after_epoch(self) -> None:  # noqa: B027 (most need none)
        """An epoch of a loop by epochs has ended."""

    def validate(self, loop: Any) -> dict[str, Any]:
        """Metrics of its networks, if that is wanted, after the student was validated.

        Args:
            loop: the validation loop; its evaluator is left as it was found, empty.
        """
        return {}

    def state_dict(self) -> dict[str, Any]:
        """State that a resumed run needs of one that learns, as tensors and plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 (of one that learns)
        """Go on where a run was stopped.

        Raises:
            ICKDError: if the state is of another teacher, or of other queues.
        """
