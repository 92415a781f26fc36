"""The labels that a bank's neighbours doubt, by the names of their images."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from mmickd.banks.memory_bank import MemoryBank
from mmickd.diagnostics.label_issues import label_issues
from mmickd.gallery.row_locator import RowLocator
from mmickd.gallery.structures import LabelIssue


def named_suspects(bank: MemoryBank, rows: RowLocator) -> list[LabelIssue]:
    """Every class of every image of a bank, the most suspicious first.

    Args:
        bank: whole.
        rows: of it.
    """
    found = label_issues(bank)
    columns = (x.tolist() for x in (found.ids, found.labels, found.suggested, found.scores))
    return [
        LabelIssue(rows.name_of(image), label, suggested, score)
        for image, label, suggested, score in zip(*columns, strict=True)
    ]


def write_suspects(file: Path, suspects: Sequence[LabelIssue], classes: Sequence[str]) -> None:
    """Write ``image,label,suggested,score``, a line each.

    Args:
        file: the CSV file.
        suspects: in their order.
        classes: names.
    """
    with file.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "label", "suggested", "score"])
        for one in suspects:
            names = classes[one.label], classes[one.suggested]
            writer.writerow([one.image, *names, f"{one.score:.4f}"])
