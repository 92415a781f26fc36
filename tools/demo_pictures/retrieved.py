"""Queries of the validation set, and what the memory bank answers to them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from opened_run import Opened
from torch import Tensor

from mmickd.sampling import image_id
from mmickd.structures import Samples


@dataclass(frozen=True)
class Place:
    """An image, or a pixel of one.

    Args:
        path: the image.
        label: its class.
        centre: (row, column) as shares of height and width; None for a whole image.
        similarity: to the query; None for the query itself.
    """

    path: str
    label: int
    centre: tuple[float, float] | None
    similarity: float | None = None


@dataclass(frozen=True)
class Answer:
    """A query with its most similar rows of its own class and of the others."""

    query: Place
    positives: list[Place]
    negatives: list[Place]


def retrieve(opened: Opened, queries: int = 8, each: int = 5) -> list[Answer]:
    """Ask the bank as the training does, with queries of several classes.

    Args:
        opened: the run.
        queries: how many.
        each: positives and negatives of each query.
    """
    level = next(iter(opened.teacher.memory.banks))
    chosen = [_choose(opened, level, number) for number in range(queries)]
    samples = [sample for _, sample in chosen]
    together = Samples(
        *(torch.cat([getattr(sample, name) for sample in samples]) for name in Samples.names())
    )
    contexts = opened.teacher.memory.query(level, together, each, each)
    finder = _Finder(opened, level)
    answers = []
    for row, (place, _) in enumerate(chosen):
        lists = [
            [
                finder.place(int(index), float(similarity))
                for index, similarity in zip(
                    context.indices[row], context.similarity[row], strict=True
                )
                if index >= 0
            ]
            for context in contexts
        ]
        answers.append(Answer(place, *lists))
    return answers


def _choose(opened: Opened, level: str, number: int) -> tuple[Place, Samples]:
    """The first image, from the place of ``number`` on, that shows the class of ``number``."""
    count, classes = len(opened.val_set), len(opened.val_set.metainfo["classes"])
    # background is a class of the scenes, and a dull one
    first = 1 if level == "pixel" else 0
    label = first + number % (classes - first)
    for step in range(count):
        index = (number * (count // 8) + step) % count
        # An image of a class of its own tells it without the teacher's forward pass.
        if opened.val_set.get_data_info(index).get("gt_label", label) != label:
            continue
        view = opened.view([opened.val_set[index]])
        found = (view.labels[0] == label).nonzero()[:, 0]
        if len(found):
            location = int(found[len(found) // 2])
            path = opened.image_path(opened.val_set, index)
            sample = Samples(
                F.normalize(view.features[0, location : location + 1].float(), dim=1),
                view.logits[0, location : location + 1].float(),
                view.labels[0, location : location + 1],
                view.ids[:1],
            )
            return Place(path, label, _centre(level, location, view.labels.shape[1])), sample
    raise ValueError(f"no validation image shows class {label}")


def _centre(level: str, location: int, locations: int) -> tuple[float, float] | None:
    """Where a location of a square grid lies in its image."""
    if level != "pixel":
        return None
    side = round(locations**0.5)
    return (location // side + 0.5) / side, (location % side + 0.5) / side


class _Finder:
    """Finds the images, and in them the pixels, that rows of the bank came from."""

    def __init__(self, opened: Opened, level: str) -> None:
        self.opened, self.level, self.bank = opened, level, opened.teacher.memory.banks[level]
        paths = [opened.image_path(opened.train_set, i) for i in range(len(opened.train_set))]
        self.index_of = {image_id(path): (i, path) for i, path in enumerate(paths)}

    def place(self, row: int, similarity: float) -> Place:
        index, path = self.index_of[int(self.bank.ids[row])]
        label = int(self.bank.labels[row])
        if self.level != "pixel":
            return Place(path, label, None, similarity)
        view = self.opened.view([self._unaugmented(index)])
        # The bank keeps no positions: the row's pixel is the one whose feature it holds.
        likeness = F.normalize(view.features[0].float(), dim=1) @ self.bank.features[row].float()
        likeness[view.labels[0] != label] = -torch.inf
        location = int(likeness.argmax())
        return Place(path, label, _centre("pixel", location, len(likeness)), similarity)

    def _unaugmented(self, index: int) -> dict:
        return self.opened.val_set.pipeline(self.opened.train_set.get_data_info(index))


def logits_grid(logits: Tensor) -> Tensor:
    """``(L, C)`` logits of a square grid as ``(C, side, side)``."""
    side = round(logits.shape[0] ** 0.5)
    return logits.T.reshape(-1, side, side)
