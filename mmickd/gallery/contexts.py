"""Query examples: queries of images, their retrieved rows, and the networks' predictions."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count as counting
from typing import Any

import torch
from torch import Tensor, nn

from mmickd.building.images import BankImages
from mmickd.gallery.row_locator import GalleryBank, RowLocator
from mmickd.gallery.select_queries import one_per_class, rarest_class
from mmickd.gallery.structures import Point, QueryExample, top_predictions
from mmickd.networks.taps import Tap, evaluating
from mmickd.structures import NO_LABEL, Context, Samples, Tapped, View
from mmickd.utils.errors import ICKDError
from mmickd.utils.timing import Progress

BEFORE, AFTER = "before", "after"
"""Names of the two students whose predictions a :class:`QueryExample` can hold."""


class StudentPredictor:
    """Student that runs on single packed images, in eval mode and without gradients.

    Args:
        model: Unwrapped student; a call restores its mode.
        layer: Name of its classifier layer.
    """

    def __init__(self, model: nn.Module, layer: str) -> None:
        self._model = model
        self._tap = Tap(model, layer)

    @torch.no_grad()
    def __call__(self, sample: dict[str, Any]) -> Tapped:
        """Return input and output of the classifier layer for a packed image."""
        sample = copy.deepcopy(sample)  # the data preprocessor may change it
        with evaluating(self._model):
            data = {name: [sample[name]] for name in ("inputs", "data_samples")}
            inputs = self._model.data_preprocessor(data, False)["inputs"]  # type: ignore[operator]
            return self._tap.read(
                lambda: self._model(inputs, mode="tensor"), "the student", "layer"
            )

    def close(self) -> None:
        """Remove the hook of the classifier layer."""
        self._tap.close()


@dataclass(frozen=True, eq=False)
class _Query:
    """Query with its context, before its rows are located in their images.

    Args:
        image: Name of the image in the data set.
        split: Name of the data set.
        sample: The query, one row.
        students: ``(C,)`` logits of the students by name.
        point: Location in the image; None if the query is no single point.
        contexts: Positives and negatives.
    """

    image: str
    split: str
    sample: Samples
    students: Mapping[str, Tensor]
    point: Point | None
    contexts: tuple[Context, Context]

    @property
    def label(self) -> int:
        return int(self.sample.labels)

    @property
    def rows(self) -> list[int]:
        return [row for c in self.contexts for row in c.indices[c.mask].tolist()]


class ContextReader:
    """Reader that queries a frozen bank with single images.

    Args:
        gallery_bank: The bank with its teacher and images.
        neighbours: Maximum number of positives, and of negatives, of a query.
        students: Students whose predictions are read too, by name (:data:`BEFORE`, :data:`AFTER`).
        seed: Seed of the choice of locations, for levels that sample them.
    """

    def __init__(
        self,
        gallery_bank: GalleryBank,
        neighbours: int,
        students: Mapping[str, StudentPredictor],
        seed: int = 0,
    ) -> None:
        self.rows, self._gallery_bank = RowLocator(gallery_bank), gallery_bank
        self._memory = (
            gallery_bank.teacher.memory.copy()
        )  # searches leave the run's retriever unchanged
        self._task = gallery_bank.teacher.task
        self._level = self._task.levels[gallery_bank.level]
        self._neighbours, self._students, self._seed = neighbours, students, seed

    def balanced_examples(
        self,
        images: BankImages,
        split: str,
        order: Sequence[int],
        count: int,
        classes: Collection[int],
    ) -> list[QueryExample]:
        """Return examples of one location each; the rarest class so far comes next.

        Args:
            images: Images of the queries.
            split: Name of the images.
            order: Indices of the images; they are used repeatedly while there are new queries.
            count: Number of examples; fewer are returned if there are not enough queries.
            classes: Selected classes.
        """
        counts: Counter[int] = Counter()
        used: set[tuple[int, int]] = set()
        queries: list[_Query] = []
        progress = Progress(count, "queries", "contexts", quiet=True)
        for round_ in counting():
            before = len(queries)
            for index in order:
                if len(queries) == count:
                    return self._located(queries)

                def select(labels: Sequence[int], index: int = index) -> list[int]:
                    new = [NO_LABEL if (index, label) in used else label for label in labels]
                    return rarest_class(new, classes, counts)

                for query in self._queries_of(images, index, split, self._seed + round_, select):
                    counts[query.label] += 1
                    if (
                        self._level.has_own_rows
                    ):  # at other levels, another seed chooses another location
                        used.add((index, query.label))
                    progress.step()
                    queries.append(query)
            if len(queries) == before:
                break
        return self._located(queries)

    def examples_of_images(
        self, images: BankImages, split: str, order: Sequence[int], classes: Collection[int]
    ) -> list[QueryExample]:
        """Return an example for each selected class of each image in ``order``."""

        def select(labels: Sequence[int]) -> list[int]:
            return one_per_class(labels, classes)

        queries = (self._queries_of(images, index, split, self._seed, select) for index in order)
        return self._located([query for of_image in queries for query in of_image])

    def _queries_of(
        self,
        images: BankImages,
        index: int,
        split: str,
        seed: int,
        select: Callable[[Sequence[int]], list[int]],
    ) -> Iterator[_Query]:
        """Yield the queries of an image at the slots that ``select`` returns."""
        sample = images[index]
        if not self._task.has_label(sample["data_samples"]):
            raise ICKDError(
                f"the pipeline of the {split} split loads no label ({images.name(index)}): add "
                "transforms that load and pack labels (for mmseg: LoadAnnotations)."
            )
        teacher_view = self._view(sample)
        views = {name: self._view(sample, student) for name, student in self._students.items()}
        teacher, *students = (
            self._level.queries(view, teacher_view.num_classes, seed)
            for view in (teacher_view, *views.values())
        )
        points = None if teacher.places is None else teacher.places()[0].tolist()
        logits = [view.student_logits[0] for view in students if view.student_logits is not None]
        for slot in select(teacher.labels[0].tolist()):
            query = teacher.samples()[slot : slot + 1]
            yield _Query(
                images.name(index),
                split,
                query,
                dict(zip(views, (rows[slot] for rows in logits), strict=True)),
                None if points is None else tuple(points[slot]),
                self._memory.query(
                    self._gallery_bank.level, query, self._neighbours, self._neighbours
                ),
            )

    def _view(self, sample: dict[str, Any], student: StudentPredictor | None = None) -> View:
        tapped = None if student is None else student(sample)
        return self._gallery_bank.teacher.view_of_bank_images([copy.deepcopy(sample)], tapped)

    def _located(self, queries: Sequence[_Query]) -> list[QueryExample]:
        """Return the examples, with the rows located in their images."""
        rows = {row for query in queries for row in query.rows}
        has_points = any(query.point is not None for query in queries)
        points = self.rows.points(rows) if has_points else {}
        return [self._example(query, points) for query in queries]

    def _example(self, query: _Query, points: Mapping[int, Point]) -> QueryExample:
        students = {name: top_predictions(logits) for name, logits in query.students.items()}
        positives, negatives = (self.rows.neighbours(context, points) for context in query.contexts)
        return QueryExample(
            image=query.image,
            label=query.label,
            split=query.split,
            teacher=top_predictions(query.sample.logits[0]),
            before=students.get(BEFORE),
            after=students.get(AFTER),
            positives=positives,
            negatives=negatives,
            point=query.point,
        )
