"""What was found, for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, RenderableType
from rich.text import Text

from mmickd.commands.checking.report import CheckReport, FrozenBankReport
from mmickd.commands.checking.trial_steps import LossGradient
from mmickd.commands.terminal import table

MANY_CLASSES = 12
"""Of more, those with fewest rows are shown."""
RANKS = 8
"""Of the example of a run with several."""


def show(found: CheckReport, console: Console) -> None:
    """Tables, and the verdict."""
    parts = [_layers(found), *_bank(found), *_teacher(found), _losses(found), _times(found)]
    for part in parts:
        console.print()
        console.print(part)
    console.print()
    for note in found.notes:
        console.print(Text.assemble(("note of another package: ", "dim"), (note, "dim")))
    for warning in found.warnings:
        console.print(Text.assemble(("warning: ", "bold yellow"), warning))
    number = len(found.warnings)
    verdict = f"{number} warning{'s' * (number != 1)}: look at them first." if number else "Sound."
    console.print(Text(f"Verdict: {verdict}", "bold yellow" if number else "bold green"))


def _layers(found: CheckReport) -> RenderableType:
    rows = [["student", found.student_layer, *_shapes(found.steps.student)]]
    teachers = found.steps.teachers or [([], [])]
    rows += [["teacher", found.teacher_layers, *_shapes(shapes)] for shapes in teachers]
    return table("Classifier layers", ["", "layer", "features", "logits"], rows)


def _shapes(shapes: tuple[Sequence[int], Sequence[int]]) -> list[str]:
    return [" x ".join(map(str, shape)) or "says nothing yet" for shape in shapes]


def _bank(found: CheckReport) -> Iterator[RenderableType]:
    if not found.frozen and not found.queues:
        yield Text("No term retrieves: there is no bank.")
    if found.queues:
        rows = [[name, len(q), _size(q.nbytes)] for name, q in found.queues.items()]
        yield Text("No frozen bank: the teacher learns, and its queues fill while it trains.")
        yield table("Queues", ["", "rows", "each rank"], rows)
    if not found.frozen or found.images is None:
        return
    yield Text(f"The bank reads the training images by {found.images.pipeline}.")
    bank = found.options.bank
    yield table(
        f"The whole bank, of {found.images.number} images",
        ["level", "rows", "on disk", "host, rank 0", "each rank", f"of {RANKS}, bank.shard=True"],
        [
            [
                level,
                f"{'' if one.size.is_exact else 'about '}{one.size.rows}",
                "not cached" if bank.cache_dir is None else _size(one.size.nbytes),
                f"{_size(one.size.nbytes)} while it is built",
                _size(one.size.nbytes),
                _size(one.size.nbytes_of_rank(RANKS, shard=True)),
            ]
            for level, one in found.frozen.items()
        ],
    )
    for level, one in found.frozen.items():
        yield _classes(level, one, found)


def _classes(level: str, one: FrozenBankReport, found: CheckReport) -> RenderableType:
    rows, small = one.size.rows_per_class, one.sampled.offsets.diff()
    which = sorted(rows.argsort(stable=True)[:MANY_CLASSES].tolist())
    return table(
        f"Rows of a class, {level} level",
        [f"{len(which)} smallest of {len(rows)} classes", "whole bank", "small bank"],
        [[f"{c} {found.classes[c]}", int(rows[c]), int(small[c])] for c in which],
    )


def _teacher(found: CheckReport) -> Iterator[RenderableType]:
    rows = []
    if found.agreement is not None and found.class_agreement is not None:
        rows.append(["the teacher's argmax is the label", f"{found.agreement:.1%}"])
        rows.append(["... mean over the classes", f"{found.class_agreement:.1%}"])
    for level, one in found.frozen.items():
        accuracy = one.report.knn_accuracy
        share = "no row to ask" if accuracy is None else f"{accuracy:.1%}"
        rows.append([f"the nearest rows name the class ({level})", share])
        if one.complete is not None:
            whole = f"finds all positives in the whole bank ({level})"
            rows.append([whole, f"{one.complete:.1%}"])
    if rows:
        of = "a few training batches"
        if found.images is not None:
            of = f"a bank of {found.images.taken} images"
        yield table(f"Shares of rows, of {of}", ["", "share"], rows)
    else:
        yield Text("The teacher learns: what it says at first tells nothing of it.")


def _losses(found: CheckReport) -> RenderableType:
    task = found.steps.task
    rows = [["task", *_pull(task, task)]]
    rows += [[f"loss_{name}", *_pull(pull, task)] for name, pull in found.steps.terms.items()]
    return table(
        "A real batch, every weight at its largest",
        ["", "weight", "value", "gradient at the student's logits", "times the task's"],
        rows,
    )


def _pull(pull: LossGradient, task: LossGradient) -> list[str]:
    told = [f"{pull.weight:g}", f"{pull.value:.4g}"]
    if pull.gradient is None:
        return [*told, "none", ""]
    ratio = f"{pull.gradient / task.gradient:.3g}" if task.gradient else ""
    return [*told, f"{pull.gradient:.3g}", ratio]


def _times(found: CheckReport) -> RenderableType:
    seconds = found.steps.seconds
    total = sum(seconds.values()) or 1.0
    return table(
        "Time of a step",
        ["in the small bank" if found.frozen else "", "ms", "share"],
        [[name, f"{1000 * s:.1f}", f"{s / total:.1%}"] for name, s in seconds.items()],
    )


def _size(nbytes: int) -> str:
    return f"{nbytes / 2**20:.1f} MiB" if nbytes >= 2**20 else f"{nbytes / 2**10:.1f} KiB"
