"""What a gallery shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

TOP = 3
"""Classes that are shown of a prediction."""

Point = tuple[float, float]
"""x and y, as shares of an image's width and height."""


@dataclass(frozen=True)
class Guess:
    """A class, and how sure a network is of it.

    Args:
        label: the class.
        probability: in [0, 1].

    Example:
        >>> Guess(3, 0.5).label
        3
    """

    label: int
    probability: float


@dataclass(frozen=True)
class Neighbour:
    """A row of the bank that a query retrieved.

    Args:
        image: path of its training image, or what else the data set calls it.
        label: its class.
        similarity: cosine to the query.
        teacher: the teacher's top classes of it.
        point: where in the image it lies; None if it is no single point.

    Example:
        >>> Neighbour("a.png", 0, 0.9, (Guess(0, 1.0),)).point is None
        True
    """

    image: str
    label: int
    similarity: float
    teacher: Sequence[Guess]
    point: Point | None = None


@dataclass(frozen=True)
class QueryExample:
    """A query, its context, and what the networks say of it.

    Args:
        image: path of the image, or what else the data set calls it.
        label: its class, or that of its point.
        split: the data set that it comes from, 'train' or 'val'.
        teacher: the teacher's top classes.
        before: the student's top classes as it begins training; None if it was not asked.
        after: the student's top classes as it is now; None if it was not asked.
        positives: rows of the own class, by falling similarity.
        negatives: rows of other classes, by falling similarity.
        point: where in the image the query lies; None if it is no single point.

    Example:
        >>> one = QueryExample("a.png", 0, "train", (Guess(0, 1.0),), None, None, (), ())
        >>> one.name
        'a'
    """

    image: str
    label: int
    split: str
    teacher: Sequence[Guess]
    before: Sequence[Guess] | None
    after: Sequence[Guess] | None
    positives: Sequence[Neighbour]
    negatives: Sequence[Neighbour]
    point: Point | None = None

    @property
    def name(self) -> str:
        """The image's name without folder and ending."""
        last = self.image.replace("\\", "/").rpartition("/")[2]
        return last.rpartition(".")[0] or last


@dataclass(frozen=True)
class LabelIssue:
    """A training image that may be labelled wrongly.

    Args:
        image: what the training set calls it.
        label: its class.
        suggested: the class that its neighbours vote for.
        score: share of their votes against the label, in [0, 1].

    Example:
        >>> LabelIssue("a.png", 0, 1, 0.9).suggested
        1
    """

    image: str
    label: int
    suggested: int
    score: float


def guesses(logits: Tensor) -> tuple[Guess, ...]:
    """The top classes by ``(C,)`` logits.

    Example:
        >>> import torch
        >>> [(one.label, round(one.probability, 2)) for one in guesses(torch.tensor([0.0, 2.0]))]
        [(1, 0.88), (0, 0.12)]
    """
    top = logits.float().softmax(dim=0).topk(min(TOP, len(logits)))
    pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return tuple(Guess(label, probability) for label, probability in pairs)
