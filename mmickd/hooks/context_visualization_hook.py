"""Pictures of contexts while a run trains."""

from __future__ import annotations

import logging
from typing import Any

from mmengine import dist
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper

from mmickd.building.images import BankImages
from mmickd.gallery.backends import PictureWriter
from mmickd.gallery.class_names import class_names
from mmickd.gallery.contexts import AFTER, ContextReader
from mmickd.gallery.pictures import draw_example
from mmickd.gallery.row_locator import GalleryBank
from mmickd.gallery.select_queries import images_by_chance
from mmickd.gallery.student_predictor import StudentPredictor
from mmickd.gallery.thumbnails import Thumbnails
from mmickd.hooks.ickd_hook import ICKDHook
from mmickd.registry import HOOKS
from mmickd.utils.distributed import raise_on_all_ranks
from mmickd.utils.errors import ICKDError
from mmickd.utils.modules import is_sharded
from mmickd.utils.random_state import preserved_random_state
from mmickd.utils.text import error_text
from mmickd.utils.validation import check_integer


@HOOKS.register_module()
class ContextVisualizationHook(Hook):
    """Shows, now and then, what a few training images retrieve and what the student says of them.

    Stands beside :class:`~mmickd.hooks.ICKDHook` with a frozen teacher. The pictures go to the
    run's visualizer (``LocalVisBackend``, TensorBoard, W&B, ...) as ``context_0``, ``context_1``,
    ...; the queries are the same each time. A run with this hook is bit for bit the run without:
    the searches use a copy of the retriever, made as training begins. An error while a picture is
    made or written is logged once, and the run goes on. Rank 0 draws, the others wait for it in
    their next step.

    Args:
        interval: iterations from one time to the next.
        count: queries.
        neighbours: most positives, and most negatives, of a query.
        seed: of the choice of queries.

    Raises:
        ICKDError: if an option is out of range.

    Example:
        >>> hook = ContextVisualizationHook(interval=500)
        >>> ContextVisualizationHook(count=0)
        Traceback (most recent call last):
            ...
        mmickd.utils.errors.OptionError: count=0: it must be an integer of at least 1.
    """

    priority = "BELOW_NORMAL"  # after ICKDHook, whose bank and teacher it asks

    def __init__(
        self, interval: int = 1000, count: int = 4, neighbours: int = 6, seed: int = 0
    ) -> None:
        options = {"interval": interval, "count": count, "neighbours": neighbours}
        for name, value in options.items():
            check_integer(value, 1, name)
        check_integer(seed, 0, "seed")
        self.interval, self.count, self.neighbours, self.seed = interval, count, neighbours, seed
        self._student: StudentPredictor | None = None
        self._reader: ContextReader | None = None
        self._images: BankImages | None = None
        self._album: Thumbnails | None = None
        self._writer: PictureWriter | None = None
        self._classes: list[str] = []
        self._order: list[int] = []
        self._has_failed = False

    def before_train(self, runner: Any) -> None:
        """Find teacher and bank.

        Raises:
            ICKDError: on every rank, if there is no ICKDHook with a frozen bank, whole on each.
        """
        hook = next((hook for hook in runner.hooks if isinstance(hook, ICKDHook)), None)
        if hook is None or hook.ready is None:
            raise ICKDError(
                "ContextVisualizationHook shows what an ICKDHook retrieves, and none has begun "
                "before it: add dict(type='mmickd.ICKDHook', ...) to custom_hooks, and leave the "
                "priority of both as it is."
            )
        asked = GalleryBank.of(hook.ready)
        with raise_on_all_ranks(), preserved_random_state():
            if dist.is_main_process():
                self._open(runner, hook.ready.layer, asked)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Draw, if it is time."""
        if self._reader is None or not self.every_n_train_iters(runner, self.interval):
            return
        try:
            with preserved_random_state():
                self._draw(self._reader, runner.iter + 1)
        except Exception as error:  # whatever a pipeline, a disk or a device without memory raises
            if not self._has_failed:
                self._has_failed = True
                print_log(
                    f"ContextVisualizationHook cannot make its pictures of iteration "
                    f"{runner.iter + 1} ({type(error).__name__}: {error_text(error)}). Training "
                    "goes on; this is not logged again.",
                    logger="current",
                    level=logging.WARNING,
                )

    def after_train(self, runner: Any) -> None:
        """Leave student and bank."""
        if self._student is not None:
            self._student.close()
        self._student = self._reader = self._images = self._album = self._writer = None

    def _draw(self, reader: ContextReader, step: int) -> None:
        assert self._images is not None and self._album is not None and self._writer is not None
        classes = range(len(self._classes))
        cases = reader.by_chance(self._images, "train", self._order, self.count, classes)
        for number, case in enumerate(cases):
            drawn = draw_example(case, self._album.picture, self._classes)
            self._writer.add(f"context_{number}", drawn, step)

    def _open(self, runner: Any, layer: str, asked: GalleryBank) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        # One rank alone cannot run a student of which it has a part.
        if not is_sharded(model):
            self._student = StudentPredictor(model, layer)
        students = {} if self._student is None else {AFTER: self._student}
        self._reader = ContextReader(asked, self.neighbours, students, self.seed)
        self._images = asked.images
        self._album = Thumbnails({"train": asked.images}, asked.teacher.swaps_channels)
        self._writer = PictureWriter(runner.visualizer)
        self._classes = class_names(runner.train_dataloader.dataset, asked.bank.num_classes)
        # once: it looks at the whole training set
        self._order = images_by_chance(asked.images, range(len(self._classes)), self.seed)
