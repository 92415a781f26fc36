"""A frozen bank whose rows are traced back to images, and to places in them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from mmickd.banks.memory_bank import MemoryBank
from mmickd.building.images import BankImages
from mmickd.gallery.structures import Neighbour, Point, guesses
from mmickd.sampling import image_id
from mmickd.structures import Context
from mmickd.teachers import NetworkTeacher
from mmickd.training.preparation import ReadyRun
from mmickd.utils.errors import ICKDError
from mmickd.utils.timing import Progress


@dataclass(frozen=True)
class GalleryBank:
    """What a run's students are taught from, as far as a gallery shows it.

    Args:
        teacher: frozen.
        level: that is asked; the first one, if there are several.
        bank: of the level, whole on this rank.
        images: that it was built from.
    """

    teacher: NetworkTeacher
    level: str
    bank: MemoryBank
    images: BankImages

    @classmethod
    def of(cls, ready: ReadyRun) -> GalleryBank:
        """Of a run.

        Raises:
            ICKDError: if it has no frozen bank, or only a part of it on this rank.
        """
        teacher, level = ready.distiller.teacher, ready.distiller.levels[0]
        if not (isinstance(teacher, NetworkTeacher) and teacher.is_frozen):
            raise ICKDError(
                "a gallery needs the frozen bank of an offline teacher, and "
                f"{type(teacher).__name__} remembers what training has shown it. Use "
                "dict(type='OfflineTeacher', cfg=..., checkpoint=...); its checkpoint may be that "
                "of a student that is trained."
            )
        bank = teacher.memory.banks.get(level)
        if bank is None:
            raise ICKDError(
                "a gallery shows what the terms of losses retrieve, and none that counts does. "
                "Give one that does a loss_weight above 0."
            )
        if not isinstance(bank, MemoryBank):
            raise ICKDError(
                "a gallery needs the whole bank in one place, and bank.shard=True deals it to the "
                "ranks. Set bank.shard=False, or use `mmickd gallery`, which runs in one process."
            )
        assert ready.images is not None  # what else was it built from
        return cls(teacher, level, bank, ready.images)


class RowLocator:
    """Rows of a bank, by what the training set calls their images.

    Args:
        asked: the bank, its teacher and its images.

    Raises:
        ICKDError: if rows cannot be traced to an image.
    """

    def __init__(self, asked: GalleryBank) -> None:
        self._teacher, self._bank, self._images = asked.teacher, asked.bank, asked.images
        self._index = {image_id(name): index for index, name in enumerate(self._images.names())}
        lost = set(self._bank.ids.unique().tolist()) - self._index.keys()
        if lost:
            raise ICKDError(
                f"rows of {len(lost)} images of the bank cannot be traced to the training set: its "
                "images have neither img_path nor sample_idx among the meta information that the "
                "pipeline packs. Add one of them to meta_keys of bank.pipeline's last transform."
            )

    def name_of(self, image_id: int) -> str:
        """What the training set calls an image of the bank."""
        return self._images.name(self._index[image_id])

    def points(self, rows: Collection[int]) -> dict[int, Point]:
        """Where rows of the bank lie in their images, which are run through the teacher again.

        The bank does not keep it: a row lies where the features of its class are nearest to it.
        """
        of_image = defaultdict(list)
        for row in rows:
            of_image[int(self._bank.ids[row])].append(row)
        found: dict[int, Point] = {}
        clock = Progress(len(of_image), "images", "places of the neighbours", quiet=True)
        for image, own in of_image.items():
            view = self._teacher.view_of_bank_images([self._images[self._index[image]]])
            assert view.places is not None
            seen, places = view.samples(), view.places()[0].tolist()
            for row in own:
                similarity = seen.features @ self._bank.features[row].float()
                similarity[seen.labels != self._bank.labels[row]] = -1.0
                x, y = places[int(similarity.argmax())]
                found[row] = x, y
            clock.step()
        return found

    def neighbours(self, context: Context, points: Mapping[int, Point]) -> list[Neighbour]:
        """The rows of the context of one query, as a gallery shows them."""
        rows = context.indices[context.mask].tolist()
        return [
            Neighbour(
                self.name_of(int(self._bank.ids[row])),
                int(self._bank.labels[row]),
                similarity,
                guesses(logits),
                points.get(row),
            )
            for row, similarity, logits in zip(
                rows, context.similarity[context.mask].tolist(), context.logits[context.mask],
                strict=True,
            )
        ]  # fmt: skip
