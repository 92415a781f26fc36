"""Frozen bank of a run, with the images of its rows and the locations in these images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from mmickd.banks.memory_bank import MemoryBank
from mmickd.building.images import BankImages
from mmickd.gallery.structures import Neighbour, Point, top_predictions
from mmickd.sampling import image_id
from mmickd.structures import Context
from mmickd.teachers import NetworkTeacher
from mmickd.training.preparation import ReadyRun
from mmickd.utils.errors import ICKDError
from mmickd.utils.timing import Progress


@dataclass(frozen=True)
class GalleryBank:
    """Frozen bank of a run, with its teacher and images.

    Args:
        teacher: Frozen teacher.
        level: Level of the bank; the first level of a run with several.
        bank: Whole bank of the level.
        images: Images that the bank was built from.
    """

    teacher: NetworkTeacher
    level: str
    bank: MemoryBank
    images: BankImages

    @classmethod
    def of(cls, ready: ReadyRun) -> GalleryBank:
        """Return the bank of a run.

        Raises:
            ICKDError: If the run has no frozen bank, or this rank has only a part of it.
        """
        distiller = ready.distiller
        teacher, level = distiller.teacher.frozen_network, distiller.levels[0]
        if teacher is None:
            raise ICKDError(
                "a gallery needs the frozen bank of an offline teacher, and the queues of "
                f"{type(distiller.teacher).__name__} change in training. Use "
                "dict(type='OfflineTeacher', cfg=..., checkpoint=...); it may be the checkpoint "
                "of a trained student."
            )
        bank = teacher.memory.banks.get(level)
        if bank is None or ready.images is None:
            raise ICKDError(
                "a gallery shows the rows that the terms of losses retrieve, and no term with a "
                "loss_weight above 0 retrieves rows. Set the loss_weight of such a term above 0."
            )
        if bank.is_sharded or bank.is_queue:
            raise ICKDError(
                "a gallery needs the whole bank on one rank, and bank.shard=True shards it. Set "
                "bank.shard=False, or use `mmickd gallery`, which runs in one process."
            )
        return cls(teacher, level, bank, ready.images)


class RowLocator:
    """Locator of the rows of a bank: their images, and the locations in these images.

    Args:
        gallery_bank: The bank with its teacher and images.

    Raises:
        ICKDError: If the image of a row is unknown.
    """

    def __init__(self, gallery_bank: GalleryBank) -> None:
        self._teacher, self._bank, self._images = (
            gallery_bank.teacher,
            gallery_bank.bank,
            gallery_bank.images,
        )
        self._index = {image_id(name): index for index, name in enumerate(self._images.names())}
        unknown = set(self._bank.ids.unique().tolist()) - self._index.keys()
        if unknown:
            raise ICKDError(
                f"{len(unknown)} images that the bank has rows of cannot be found in the training "
                "set: they have neither img_path nor sample_idx among the meta information that "
                "the pipeline packs. Add one of them to meta_keys of bank.pipeline's last "
                "transform."
            )

    def name_of(self, image_id: int) -> str:
        """Return the name of an image of the bank in the training set."""
        return self._images.name(self._index[image_id])

    def points(self, rows: Collection[int]) -> dict[int, Point]:
        """Return the location of each row in its image.

        The bank does not store locations. So the teacher runs on the image again; the location of a
        row is where the most similar feature of the same class is.
        """
        rows_of_image = defaultdict(list)
        for row in rows:
            rows_of_image[int(self._bank.ids[row])].append(row)
        points: dict[int, Point] = {}
        progress = Progress(len(rows_of_image), "images", "locations of the neighbours", quiet=True)
        for image, image_rows in rows_of_image.items():
            view = self._teacher.view_of_bank_images([self._images[self._index[image]]])
            assert view.places is not None
            samples, locations = view.samples(), view.places()[0].tolist()
            for row in image_rows:
                similarity = samples.features @ self._bank.features[row].float()
                similarity[samples.labels != self._bank.labels[row]] = -1.0
                x, y = locations[int(similarity.argmax())]
                points[row] = x, y
            progress.step()
        return points

    def neighbours(self, context: Context, points: Mapping[int, Point]) -> list[Neighbour]:
        """Return the rows in the context of one query."""
        columns = (context.indices, context.similarity, context.logits)
        rows, similarities, logits = (column[context.mask] for column in columns)
        return [
            Neighbour(
                self.name_of(int(self._bank.ids[row])),
                int(self._bank.labels[row]),
                similarity,
                top_predictions(row_logits),
                points.get(row),
            )
            for row, similarity, row_logits in zip(
                rows.tolist(), similarities.tolist(), logits, strict=True
            )
        ]
