"""All that is known of a run before its first step."""

from __future__ import annotations

from dataclasses import dataclass

from mmickd.banks.memory_bank import MemoryBank
from mmickd.banks.queue_bank import QueueBank
from mmickd.commands.checking.size import BankSize
from mmickd.commands.checking.trial_steps import StepReport
from mmickd.diagnostics.bank_report import BankReport
from mmickd.training.options import HookOptions


@dataclass(frozen=True, eq=False)
class FrozenBankReport:
    """The bank of a frozen teacher at a level.

    Args:
        size: of the whole bank.
        sampled: the small one, on the CPU.
        report: of the small one.
        complete: share of the whole bank's rows that find all positives; None if none are wanted.
        wrong_labels: see :func:`~mmickd.diagnostics.label_issues.share_of_label_issues`.
    """

    size: BankSize
    sampled: MemoryBank
    report: BankReport
    complete: float | None
    wrong_labels: float | None


@dataclass(frozen=True, eq=False)
class ImagesReport:
    """The images of a frozen bank.

    Args:
        number: of all.
        taken: of the small bank.
        pipeline: transforms that read them, and where they come from.
    """

    number: int
    taken: int
    pipeline: str


@dataclass(frozen=True, eq=False)
class CheckReport:
    """All that is known of a run before its first step.

    Args:
        options: of the hook, as the run has them.
        student_layer: name of the student's classifier layer.
        teacher_layers: names of the teacher's.
        classes: names of the classes; numbers where the data set has none.
        images: of the frozen bank, if there is one.
        frozen: by level, the bank of a frozen teacher.
        queues: by network and level, the queue of a teacher that learns.
        steps: on real batches.
        agreement: share of rows on which a frozen teacher's argmax is the label.
        class_agreement: mean of that over the classes.
        warnings: what is not sound.
        notes: what other packages warned of.
    """

    options: HookOptions
    student_layer: str
    teacher_layers: str
    classes: list[str]
    images: ImagesReport | None
    frozen: dict[str, FrozenBankReport]
    queues: dict[str, QueueBank]
    steps: StepReport
    agreement: float | None
    class_agreement: float | None
    warnings: list[str]
    notes: list[str]
