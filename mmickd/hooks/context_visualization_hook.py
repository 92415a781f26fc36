"""Pictures of contexts while a run trains."""

from __future__ import annotations

import logging
from typing import Any

from mmengine import dist
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper

from mmickd.gallery.contexts import AFTER, ContextReader, StudentPredictor
from mmickd.gallery.output import PictureWriter
from mmickd.gallery.pictures import draw_example
from mmickd.gallery.row_locator import GalleryBank
from mmickd.gallery.select_queries import class_names, shuffle_images
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
    """Hook that draws the retrieved rows of a few training images, and the student's predictions.

    It is used beside :class:`~mmickd.hooks.ICKDHook` with a frozen teacher. The pictures go to the
    run's visualizer (``LocalVisBackend``, TensorBoard, W&B, ...) as ``context_0``, ``context_1``,
    ...; the queries are the same each time. Training is bit for bit the same with and without this
    hook, because it searches with a copy of the retriever. The first error of a picture is logged,
    and training continues. Rank 0 draws while the other ranks wait in their next step.

    Args:
        interval: Number of iterations between two drawings.
        count: Number of queries.
        neighbours: Maximum number of positives, and of negatives, of a query.
        seed: Seed of the choice of queries.

    Raises:
        ICKDError: If an option is out of range.

    Example:
        >>> hook = ContextVisualizationHook(interval=500)
        >>> ContextVisualizationHook(count=0)
        Traceback (most recent call last):
            ...
        mmickd.utils.errors.OptionError: count=0: it must be an integer of at least 1.
    """

    priority = "BELOW_NORMAL"  # after ICKDHook, which builds bank and teacher

    def __init__(
        self, interval: int = 1000, count: int = 4, neighbours: int = 6, seed: int = 0
    ) -> None:
        options = {"interval": interval, "count": count, "neighbours": neighbours}
        for name, value in options.items():
            check_integer(value, 1, name)
        check_integer(seed, 0, "seed")
        self.interval, self.count, self.neighbours, self.seed = interval, count, neighbours, seed
        self._drawing: _Drawing | None = None
        self._has_failed = False

    def before_train(self, runner: Any) -> None:
        """Find the teacher and the bank of the run.

        Raises:
            ICKDError: On every rank, if there is no ICKDHook with a frozen bank that is whole on
                each rank.
        """
        hook = next((hook for hook in runner.hooks if isinstance(hook, ICKDHook)), None)
        if hook is None or hook.ready is None:
            raise ICKDError(
                "ContextVisualizationHook draws the rows that an ICKDHook retrieves, and no "
                "ICKDHook has started before it: add dict(type='mmickd.ICKDHook', ...) to "
                "custom_hooks, and leave the priority of both hooks at its default."
            )
        gallery_bank = GalleryBank.of(hook.ready)
        with raise_on_all_ranks(), preserved_random_state():
            if dist.is_main_process():
                self._drawing = _Drawing(runner, hook.ready.layer, gallery_bank, self)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Draw the pictures every ``interval`` iterations."""
        if self._drawing is None or not self.every_n_train_iters(runner, self.interval):
            return
        try:
            with preserved_random_state():
                self._drawing.draw(runner.iter + 1)
        except Exception as error:  # any error of a pipeline, a disk or a full device
            if not self._has_failed:
                self._has_failed = True
                print_log(
                    f"ContextVisualizationHook cannot draw its pictures of iteration "
                    f"{runner.iter + 1} ({type(error).__name__}: {error_text(error)}). Training "
                    "continues; this is not logged again.",
                    logger="current",
                    level=logging.WARNING,
                )

    def after_train(self, runner: Any) -> None:
        """Detach from the student, and release the bank."""
        if self._drawing is not None:
            self._drawing.close()
        self._drawing = None


class _Drawing:
    """Repeated drawing of the same queries, on rank 0.

    Args:
        runner: Runner of mmengine.
        layer: Name of the student's classifier layer.
        gallery_bank: Bank, teacher and images of the run.
        options: Hook with the options.
    """

    def __init__(
        self, runner: Any, layer: str, gallery_bank: GalleryBank, options: ContextVisualizationHook
    ) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        # a sharded student cannot run on one rank alone
        self._students = {} if is_sharded(model) else {AFTER: StudentPredictor(model, layer)}
        self._reader = ContextReader(gallery_bank, options.neighbours, self._students, options.seed)
        self._images, self._count = gallery_bank.images, options.count
        self._thumbnails = Thumbnails(
            {"train": gallery_bank.images}, gallery_bank.teacher.swaps_channels
        )
        self._writer = PictureWriter(runner.visualizer)
        self._names = class_names(runner.train_dataloader.dataset, gallery_bank.bank.num_classes)
        self._classes = range(len(self._names))
        # once, because it reads the annotations of the whole training set
        self._order = shuffle_images(gallery_bank.images, self._classes, options.seed)

    def draw(self, step: int) -> None:
        """Draw the queries and write the pictures."""
        examples = self._reader.balanced_examples(
            self._images, "train", self._order, self._count, self._classes
        )
        for number, example in enumerate(examples):
            picture = draw_example(example, self._thumbnails.picture, self._names)
            self._writer.add(f"context_{number}", picture, step)

    def close(self) -> None:
        """Remove the hook of the student."""
        for student in self._students.values():
            student.close()
