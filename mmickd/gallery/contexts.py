"""Collecting cases: queries, what they retrieve, and what the networks say of them."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count as counting
from typing import Any

from torch import Tensor

from mmickd.building.images import BankImages
from mmickd.gallery.row_locator import GalleryBank, RowLocator
from mmickd.gallery.select_queries import one_of_each, rarest
from mmickd.gallery.structures import Point, QueryExample, guesses
from mmickd.gallery.student_predictor import StudentPredictor
from mmickd.structures import NO_LABEL, Context, Samples, View
from mmickd.utils.errors import ICKDError
from mmickd.utils.timing import Progress

BEFORE, AFTER = "before", "after"
"""Names of the students that a case has a place for."""


@dataclass(frozen=True, eq=False)
class Question:
    """A query that was asked; the images of the rows that it found are not looked at yet.

    Args:
        image: what the data set calls the image.
        split: the data set that it comes from.
        query: one row.
        students: ``(C,)`` logits by the name of the student.
        point: where in the image the query lies; None if it is no single point.
        contexts: positives and negatives of the one query.
    """

    image: str
    split: str
    query: Samples
    students: Mapping[str, Tensor]
    point: Point | None
    contexts: tuple[Context, Context]

    @property
    def label(self) -> int:
        """Class of the query."""
        return int(self.query.labels)

    @property
    def rows(self) -> list[int]:
        """Rows of the bank that were found."""
        return [row for c in self.contexts for row in c.indices[c.mask].tolist()]


class ContextReader:
    """Asks a frozen bank about single images.

    Args:
        asked: the bank, its teacher and its images.
        neighbours: rows that are shown of each context, at most.
        students: by name, :data:`BEFORE` or :data:`AFTER`, who is asked as well.
        seed: of the choice of locations, where the level samples.
    """

    def __init__(
        self,
        asked: GalleryBank,
        neighbours: int,
        students: Mapping[str, StudentPredictor],
        seed: int = 0,
    ) -> None:
        self.rows, self._asked = RowLocator(asked), asked
        self._memory = asked.teacher.memory.copy()  # a run goes on as without these searches
        self._task = asked.teacher.task
        self._level = self._task.levels[asked.level]
        self._neighbours, self._students, self._seed = neighbours, students, seed

    def by_chance(
        self,
        images: BankImages,
        split: str,
        order: Sequence[int],
        count: int,
        classes: Collection[int],
    ) -> list[QueryExample]:
        """Cases of one location each; the class that was shown least comes next.

        Args:
            images: of the queries.
            split: what they are called.
            order: of the images; they are gone through again while there is something left.
            count: of the cases; fewer if there are not so many.
            classes: that are wanted.
        """
        shown: Counter[int] = Counter()
        seen: set[tuple[int, int]] = set()
        questions: list[Question] = []
        clock = Progress(count, "queries", "contexts", quiet=True)
        for again in counting():
            before = len(questions)
            for index in order:
                if len(questions) == count:
                    return self._traced(questions)

                def choose(labels: Sequence[int], index: int = index) -> list[int]:
                    new = [NO_LABEL if (index, label) in seen else label for label in labels]
                    return rarest(new, classes, shown)

                for question in self._ask(images, index, split, self._seed + again, choose):
                    shown[question.label] += 1
                    if self._level.has_own_rows:  # else another seed finds another place
                        seen.add((index, question.label))
                    clock.step()
                    questions.append(question)
            if len(questions) == before:
                break
        return self._traced(questions)

    def of_images(
        self, images: BankImages, split: str, order: Sequence[int], classes: Collection[int]
    ) -> list[QueryExample]:
        """Cases of given images: one of each wanted class that an image has."""

        def each(labels: Sequence[int]) -> list[int]:
            return one_of_each(labels, classes)

        asked = (self._ask(images, index, split, self._seed, each) for index in order)
        return self._traced([question for questions in asked for question in questions])

    def _ask(
        self,
        images: BankImages,
        index: int,
        split: str,
        seed: int,
        choose: Callable[[Sequence[int]], list[int]],
    ) -> Iterator[Question]:
        """Ask about the chosen slots of an image."""
        sample = images[index]
        if not self._task.has_label(sample["data_samples"]):
            raise ICKDError(
                f"the pipeline of the {split} split gives no label ({images.name(index)}): end it "
                "with what loads and packs labels (for mmseg: LoadAnnotations)."
            )
        plain = self._view(sample)
        views = {name: self._view(sample, voice) for name, voice in self._students.items()}
        asked, *others = (
            self._level.queries(view, plain.num_classes, seed) for view in (plain, *views.values())
        )
        places = None if asked.places is None else asked.places()[0].tolist()
        logits = [view.student_logits[0] for view in others if view.student_logits is not None]
        for slot in choose(asked.labels[0].tolist()):
            query = asked.samples()[slot : slot + 1]
            yield Question(
                images.name(index),
                split,
                query,
                dict(zip(views, (one[slot] for one in logits), strict=True)),
                None if places is None else tuple(places[slot]),
                self._memory.query(self._asked.level, query, self._neighbours, self._neighbours),
            )

    def _view(self, sample: dict[str, Any], voice: StudentPredictor | None = None) -> View:
        student = None if voice is None else voice.of(sample)
        return self._asked.teacher.view_of_bank_images([copy.deepcopy(sample)], student)

    def _traced(self, questions: Sequence[Question]) -> list[QueryExample]:
        """The cases, after a look at the images that were found."""
        rows = {row for question in questions for row in question.rows}
        has_points = any(question.point is not None for question in questions)
        points = self.rows.points(rows) if has_points else {}
        return [self._case(question, points) for question in questions]

    def _case(self, question: Question, points: Mapping[int, Point]) -> QueryExample:
        said = {name: guesses(logits) for name, logits in question.students.items()}
        positives, negatives = (self.rows.neighbours(one, points) for one in question.contexts)
        return QueryExample(
            image=question.image,
            label=question.label,
            split=question.split,
            teacher=guesses(question.query.logits[0]),
            before=said.get(BEFORE),
            after=said.get(AFTER),
            positives=positives,
            negatives=negatives,
            point=question.point,
        )
