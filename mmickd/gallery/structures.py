"""Data of a gallery: queries, their contexts, and label issues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

TOP = 3
"""Number of classes of a prediction that are shown."""

Point = tuple[float, float]
"""x and y, as shares of an image's width and height."""


@dataclass(frozen=True)
class Prediction:
    """Class that a network predicts.

    Args:
        label: The class.
        probability: Its probability, in [0, 1].

    Example:
        >>> Prediction(3, 0.5).label
        3
    """

    label: int
    probability: float


@dataclass(frozen=True)
class Neighbour:
    """Row of the bank that a query retrieved.

    Args:
        image: Path of the training image, or another name of it in the data set.
        label: Class of the row.
        similarity: Cosine similarity to the query.
        teacher: Top classes that the teacher predicts for the row.
        point: Location of the row in the image; None if the row is no single point.

    Example:
        >>> Neighbour("a.png", 0, 0.9, (Prediction(0, 1.0),)).point is None
        True
    """

    image: str
    label: int
    similarity: float
    teacher: Sequence[Prediction]
    point: Point | None = None


@dataclass(frozen=True)
class QueryExample:
    """Query with its context and with the predictions of the networks.

    Args:
        image: Path of the image, or another name of it in the data set.
        label: Class of the image, or of the query's point.
        split: Name of the data set that the image comes from, 'train' or 'val'.
        teacher: Top classes that the teacher predicts.
        before: Top classes of the student before training; None without this student.
        after: Top classes of the student in or after training; None without this student.
        positives: Rows of the query's class, by falling similarity.
        negatives: Rows of other classes, by falling similarity.
        point: Location of the query in the image; None if the query is no single point.

    Example:
        >>> example = QueryExample("a.png", 0, "train", (Prediction(0, 1.0),), None, None, (), ())
        >>> example.name
        'a'
    """

    image: str
    label: int
    split: str
    teacher: Sequence[Prediction]
    before: Sequence[Prediction] | None
    after: Sequence[Prediction] | None
    positives: Sequence[Neighbour]
    negatives: Sequence[Neighbour]
    point: Point | None = None

    @property
    def name(self) -> str:
        """Name of the image without folder and suffix."""
        file = self.image.replace("\\", "/").rpartition("/")[2]
        return file.rpartition(".")[0] or file


@dataclass(frozen=True)
class LabelIssue:
    """Label of a training image, scored by :mod:`mmickd.diagnostics.label_issues`.

    Args:
        image: Name of the image in the training set.
        label: The label; one class of the image.
        suggested: Class that the neighbours suggest; it may be the label.
        score: Score in [0, 1]; the higher, the more likely the label is wrong.
        is_issue: True if the label is a label issue.

    Example:
        >>> LabelIssue("a.png", 0, 1, 0.9, is_issue=True).suggested
        1
    """

    image: str
    label: int
    suggested: int
    score: float
    is_issue: bool


def top_predictions(logits: Tensor) -> tuple[Prediction, ...]:
    """Return the most probable classes of ``(C,)`` logits.

    Example:
        >>> import torch
        >>> [(p.label, round(p.probability, 2)) for p in top_predictions(torch.tensor([0.0, 2.0]))]
        [(1, 0.88), (0, 0.12)]
    """
    top = logits.float().softmax(dim=0).topk(min(TOP, len(logits)))
    pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return tuple(Prediction(label, probability) for label, probability in pairs)
