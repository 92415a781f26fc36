"""Building of memory banks: the pass over the images, and checks of the result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mmengine import dist
from mmengine.logging import print_log
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmickd.banks.chunked_rows import is_finite
from mmickd.banks.memory_bank import MemoryBank
from mmickd.banks.options import BankOptions
from mmickd.building.collector import RowCollector
from mmickd.building.images import BankImages
from mmickd.building.large_images import explain_large_batches, too_large_message
from mmickd.building.pickled_batch import PickledBatch
from mmickd.tasks import Task
from mmickd.teachers import NetworkTeacher
from mmickd.utils.distributed import raise_on_all_ranks
from mmickd.utils.errors import ICKDError, is_out_of_memory
from mmickd.utils.timing import Progress

MIN_CLASSES = 2
"""Minimum number of classes with rows, as negatives are rows of another class."""


def build_banks(
    levels: Sequence[str],
    options: BankOptions,
    images: BankImages,
    teacher: NetworkTeacher,
    batch_size: int,
    num_workers: int,
    min_classes: int = MIN_CLASSES,
) -> dict[str, MemoryBank | None]:
    """Return the banks of the training images on rank 0; every rank runs some of the batches.

    A batch has the same images for any number of ranks, so that the teacher's outputs are the same
    bit for bit.

    Args:
        levels: Levels of the banks.
        options: Options of the bank, which decide the choice of the rows.
        images: Training images.
        teacher: Teacher after its dry run.
        batch_size: Images in a batch; images of the same size run through the teacher together.
        num_workers: Processes that read images.
        min_classes: Minimum number of classes with rows.

    Returns:
        By level, the bank on rank 0, on the CPU; None on the other ranks.

    Raises:
        ICKDError: On every rank, if an image cannot be read or has an invalid label, the teacher
            outputs NaN or Inf, or fewer than ``min_classes`` classes have rows.
    """
    print_log(f"Building the memory bank from {len(images)} training images", logger="current")
    num_classes = teacher.tap.num_classes
    collectors = {
        level: RowCollector(
            num_classes,
            options.capacity(teacher.task.levels[level].capacity),
            options.stored_dtype,
        )
        for level in levels
    }
    with raise_on_all_ranks(), explain_large_batches(batch_size):
        _collect(collectors, images, teacher, options, batch_size, num_workers)
    with explain_large_batches(batch_size):
        banks = {level: collector.finish() for level, collector in collectors.items()}
    with raise_on_all_ranks():
        for level, bank in banks.items():
            if bank is not None:
                check_present_classes(level, bank.offsets.diff(), len(images), min_classes)
                if not is_finite(bank.logits):
                    raise ICKDError(
                        "the teacher's logits are too large for bank.dtype='fp16': set "
                        "bank.dtype='fp32'."
                    )
    return banks


class _Batches(Dataset):
    """Data set of batches of packed samples; an invalid batch is replaced by its error message."""

    def __init__(self, images: BankImages, batch_size: int, task: Task, num_classes: int) -> None:
        self.images, self.task, self.num_classes = images, task, num_classes
        self.starts = range(0, len(images), batch_size)
        self.batch_size = batch_size

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, batch: int) -> list[dict[str, Any]] | str:
        start = self.starts[batch]
        samples = []
        for index in range(start, min(start + self.batch_size, len(self.images))):
            try:
                sample = self.images[index]
                invalid = self.task.bad_labels(sample["data_samples"], self.num_classes)
            except ICKDError as error:  # the message names the image
                return str(error)
            except Exception as error:  # a pipeline may raise anything
                if is_out_of_memory(error):
                    return too_large_message(self.images.name(index), None, error)
                return f"{self.images.name(index)}: {type(error).__name__}: {error}"
            if invalid:
                return (
                    f"{self.images.name(index)} is labelled {invalid[:5]}, outside of the "
                    f"teacher's {self.num_classes} classes (0..{self.num_classes - 1}) and not "
                    "ignored. Correct the annotation, the label map, or ignore_index of the "
                    "student's head."
                )
            samples.append(sample)
        return samples


def _collect(
    collectors: dict[str, RowCollector],
    images: BankImages,
    teacher: NetworkTeacher,
    options: BankOptions,
    batch_size: int,
    num_workers: int,
) -> None:
    """Add the rows of this rank's batches to the collectors."""
    task = teacher.task
    batches = _Batches(images, batch_size, task, teacher.tap.num_classes)
    rank, world_size = dist.get_dist_info()
    own_batches = range(rank, len(batches), world_size)
    # A rank without batches runs the first batch for the width of the rows, and keeps no rows.
    groups = _groups(batches, own_batches if len(own_batches) else range(1), num_workers)
    progress = Progress(len(own_batches), "batches", f"memory bank ({', '.join(collectors)})")
    for samples, ends_batch in groups:
        view = teacher.view_of_bank_images(samples)
        for level, collector in collectors.items():
            rows, keys = task.levels[level].bank_rows(view, options.pixels_per_image, options.seed)
            kept = slice(None) if len(own_batches) else slice(0)
            collector.add(rows[kept], keys[kept])
        if ends_batch:
            progress.step()
    if world_size > 1:
        print_log(
            f"{progress.what}: rank 0 is done and waits for the other ranks", logger="current"
        )


def _groups(
    batches: _Batches, indices: Sequence[int], num_workers: int
) -> Iterator[tuple[list[dict[str, Any]], bool]]:
    """Yield the samples of each image size in a batch, and True for the last size of the batch."""
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=indices,
        num_workers=num_workers,
        collate_fn=PickledBatch.of if num_workers else lambda batch: batch,
    )
    for loaded in loader:
        batch = loaded.load() if num_workers else loaded
        if isinstance(batch, str):
            raise ICKDError(f"the memory bank cannot be built: {batch}")
        groups: dict[tuple[int, ...], list[dict[str, Any]]] = {}
        for sample in batch:
            groups.setdefault(tuple(sample["inputs"].shape), []).append(sample)
        for number, group in enumerate(groups.values(), 1):
            yield group, number == len(groups)


class NoRowsError(ICKDError):
    """Error of a bank whose images have no labels.

    Args:
        message: Message of the error.
        images: Number of images that were read.
    """

    def __init__(self, message: str, images: int) -> None:
        super().__init__(message)
        self.images = images


def check_present_classes(
    level: str, sizes: Tensor, images: int, min_classes: int = MIN_CLASSES
) -> None:
    """Check that a bank has rows of enough classes.

    Args:
        level: Level of the bank.
        sizes: ``(C,)`` int64; rows of each class.
        images: Number of images that the bank was built from.
        min_classes: Minimum number of classes with rows.

    Raises:
        NoRowsError: If no class has rows, and ``min_classes`` is above 0.
        ICKDError: If fewer than ``min_classes`` classes have rows.
    """
    present = (sizes > 0).nonzero()[:, 0].tolist()
    if len(present) < min_classes:
        rows = f"only class {present[0]}" if present else "no labelled row at all"
        message = (
            f"{images} training images give the memory bank ({level} level) {rows}: in-context "
            "distillation needs at least two classes. Check the annotations and ignore_index."
        )
        raise ICKDError(message) if present else NoRowsError(message, images)
