"""Sections of the report of ``mmickd check``: a function for each section."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mmickd.banks.memory_bank import MemoryBank
from mmickd.banks.queue_bank import QueueBank
from mmickd.building.images import BankImages
from mmickd.commands.checking.report import Section
from mmickd.commands.checking.size import BankSize
from mmickd.commands.checking.trial_steps import LossGradient, StepReport
from mmickd.commands.open_run import OpenRun
from mmickd.diagnostics.bank_report import BankReport

MAX_CLASSES = 12
"""Maximum number of classes in a table; the classes with the fewest rows are listed."""
RANKS = 8
"""Number of ranks in the example of a sharded bank."""


@dataclass(frozen=True, eq=False)
class FrozenBankReport:
    """Figures of a frozen teacher's bank at one level.

    Args:
        size: Size of the whole bank.
        sample: Small bank, on the CPU.
        report: Figures of the small bank.
        complete: Share of the whole bank's rows that find all positives; None if no term
            retrieves a fixed number of them.
        label_issues: Share of label issues; None if it cannot be estimated.
    """

    size: BankSize
    sample: MemoryBank
    report: BankReport
    complete: float | None
    label_issues: float | None

    def to_json(self) -> dict[str, Any]:
        """Return the plain values."""
        return {
            "rows": self.size.rows,
            "bytes": self.size.nbytes,
            "exact": self.size.is_exact,
            "rows_per_class": self.size.rows_per_class.tolist(),
            "complete": self.complete,
            "knn_accuracy": self.report.knn_accuracy,
            "wrong_labels": self.label_issues,
            "sample": {
                "rows": len(self.sample),
                "rows_per_class": self.sample.offsets.diff().tolist(),
            },
        }


def layers_section(run: OpenRun, steps: StepReport) -> Section:
    """Return the classifier layers and the shapes of their inputs and outputs."""
    student, teacher = run.attachment.layer, run.distiller.teacher.layers
    rows = [["student", student, *_shapes(steps.student)]]
    rows += [["teacher", teacher, *_shapes(shapes)] for shapes in steps.teachers or [([], [])]]
    features, logits = steps.student
    sources = [{"features": f, "logits": z} for f, z in steps.teachers]
    values = {
        "student": {"name": student, "features": features, "logits": logits},
        "teacher": {"name": teacher, "sources": sources},
    }
    columns = ["", "layer", "features", "logits"]
    return Section("Classifier layers", columns, rows, {"layers": values})


def _shapes(shapes: tuple[Sequence[int], Sequence[int]]) -> list[str]:
    return [" x ".join(map(str, shape)) or "no output yet" for shape in shapes]


def bank_sections(
    run: OpenRun,
    images: BankImages | None,
    frozen: Mapping[str, FrozenBankReport],
    classes: Sequence[str],
) -> Iterator[Section]:
    """Yield sections with images, rows and bytes of the banks.

    Args:
        run: The run, with the small bank.
        images: All images of the whole frozen bank; None without a frozen bank.
        frozen: Figures of the frozen bank of each level.
        classes: Names of the classes.
    """
    memories = run.distiller.teacher.memories
    queues = {
        level if len(memories) == 1 else f"{name}.{level}": queue
        for name, memory in memories.items()
        for level, queue in memory.queues.items()
    }
    sample, pipeline = run.ready.images, run.ready.pipeline
    values = {
        "classes": list(classes),
        "images": None,
        "bank": _bank_values(frozen, queues),
    }
    if images is None or sample is None:
        title = "No term retrieves: there is no bank."
        if queues:
            title = "No frozen bank: the teacher learns, and its queues fill in training."
        yield Section(title, values=values)
        if queues:
            rows = [[name, len(queue), _size(queue.nbytes)] for name, queue in queues.items()]
            yield Section("Queues", ["", "rows", "each rank"], rows)
        return
    values["images"] = {"number": len(images), "taken": len(sample), "pipeline": pipeline}
    yield Section(f"The bank reads the training images by {pipeline}.", values=values)
    is_cached = run.options.bank.cache_dir is not None
    yield Section(
        f"The whole bank, of {len(images)} images",
        ["level", "rows", "on disk", "host, rank 0", "each rank", f"of {RANKS}, bank.shard=True"],
        [
            [
                level,
                f"{'' if bank.size.is_exact else 'about '}{bank.size.rows}",
                _size(bank.size.nbytes) if is_cached else "not cached",
                f"{_size(bank.size.nbytes)} while it is built",
                _size(bank.size.nbytes),
                _size(bank.size.nbytes_of_rank(RANKS, shard=True)),
            ]
            for level, bank in frozen.items()
        ],
    )
    for level, bank in frozen.items():
        sizes, sample_sizes = bank.size.rows_per_class, bank.sample.offsets.diff()
        smallest = sorted(sizes.argsort(stable=True)[:MAX_CLASSES].tolist())
        yield Section(
            f"Rows of a class, {level} level",
            [f"{len(smallest)} smallest of {len(sizes)} classes", "whole bank", "small bank"],
            [[f"{c} {classes[c]}", int(sizes[c]), int(sample_sizes[c])] for c in smallest],
        )


def _bank_values(
    frozen: Mapping[str, FrozenBankReport], queues: Mapping[str, QueueBank]
) -> dict[str, Any]:
    levels = {level: bank.to_json() for level, bank in frozen.items()}
    first = next(iter(levels.values()), {})
    return {
        "rows": sum(bank["rows"] for bank in levels.values()) + sum(map(len, queues.values())),
        "bytes": sum(bank["bytes"] for bank in levels.values())
        + sum(queue.nbytes for queue in queues.values()),
        "knn_accuracy": first.get("knn_accuracy"),
        "complete": first.get("complete"),
        "levels": levels,
    }


def shares_section(
    run: OpenRun,
    frozen: Mapping[str, FrozenBankReport],
    agreement: float | None,
    class_agreement: float | None,
) -> Section:
    """Return the shares of rows that teacher and neighbours predict correctly.

    Args:
        run: The run, with the small bank.
        frozen: Figures of the frozen bank of each level.
        agreement: Share of rows on which a frozen teacher's argmax is the label.
        class_agreement: Mean of that share over the classes.
    """
    values = {
        "frozen": run.distiller.teacher.is_frozen,
        "agreement": agreement,
        "class_agreement": class_agreement,
    }
    rows = []
    if agreement is not None and class_agreement is not None:
        rows.append(["the teacher's argmax is the label", f"{agreement:.1%}"])
        rows.append(["... mean over the classes", f"{class_agreement:.1%}"])
    for level, bank in frozen.items():
        accuracy = bank.report.knn_accuracy
        share = "no row to predict" if accuracy is None else f"{accuracy:.1%}"
        rows.append([f"the nearest rows predict the class ({level})", share])
        if bank.complete is not None:
            share = f"{bank.complete:.1%}"
            rows.append([f"rows that find all positives in the whole bank ({level})", share])
    if not rows:
        title = "The teacher learns: its predictions before training are not checked."
        return Section(title, values={"teacher": values})
    images = run.ready.images
    source = "a few training batches" if images is None else f"a bank of {len(images)} images"
    return Section(f"Shares of rows, from {source}", ["", "share"], rows, {"teacher": values})


def terms_sections(run: OpenRun) -> Iterator[Section]:
    """Yield sections with type, weight and options of the terms of the student and of peers."""
    for terms in run.ready.all_terms:
        described = terms.descriptions
        yield Section(
            f"Terms of {terms.where}",
            ["", "loss, weight, options"],
            list(described.items()),
            {terms.where: described},
        )


def losses_section(steps: StepReport) -> Section:
    """Return weight, value and gradient of the task's losses and of each term."""
    rows = [["task", *_cells(steps.task, steps.task)]]
    rows += [[f"loss_{name}", *_cells(term, steps.task)] for name, term in steps.terms.items()]
    return Section(
        "Losses of a training batch, every weight at its maximum",
        ["", "weight", "value", "gradient at the student's logits", "times the task's"],
        rows,
        {
            "task": asdict(steps.task),
            "terms": {name: asdict(term) for name, term in steps.terms.items()},
        },
    )


def _cells(loss: LossGradient, task: LossGradient) -> list[str]:
    cells = [f"{loss.weight:g}", f"{loss.value:.4g}"]
    if loss.gradient is None:
        return [*cells, "none", ""]
    ratio = f"{loss.gradient / task.gradient:.3g}" if task.gradient else ""
    return [*cells, f"{loss.gradient:.3g}", ratio]


def times_section(steps: StepReport, has_bank: bool) -> Section:
    """Return the time of each part of a step."""
    total = sum(steps.seconds.values()) or 1.0
    return Section(
        f"Time of a step{' (retrieval from the small bank)' if has_bank else ''}",
        ["", "ms", "share"],
        [[part, f"{1000 * s:.1f}", f"{s / total:.1%}"] for part, s in steps.seconds.items()],
        {"seconds": steps.seconds},
    )


def _size(nbytes: int) -> str:
    return f"{nbytes / 2**20:.1f} MiB" if nbytes >= 2**20 else f"{nbytes / 2**10:.1f} KiB"
