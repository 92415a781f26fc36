"""Make class folders of PNG pictures from scikit-learn's digits (no download).

    data/digits/{train,val,select}/<0..9>/<sample>.png

The layout is that of ``mmpretrain.CustomDataset``. The training split is small and balanced, so
that a teacher helps; all other samples are the validation split. ``--select`` holds some of them
out for the choice of settings. ``--long-tail`` makes the classes unequal, and ``--label-noise``
moves some training pictures to the folder of another class.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from derive import shuffled, tail_shares
from output import is_complete, manifest_folder, run_with_options
from PIL import Image

FORMAT = 1
NUM_CLASSES = 10
OPTIONS = {
    "out": "folder to make",
    "train_per_class": "training samples of each digit",
    "size": "side of the pictures in pixels",
    "seed": "seed of the split",
    "label_noise": "share of training samples of each digit with a label error, 0 to 1",
    "select": "validation samples of each digit to hold out as the split 'select'",
    "long_tail": "ratio of training samples between the largest and the smallest class",
}


def split_digits(
    labels: np.ndarray, train_per_class: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Choose ``train_per_class`` samples of each class for training, the others for validation.

    Args:
        labels: Digit of each sample, shape (N,), int.
        train_per_class: Training samples of each class.
        seed: Seed of the choice.

    Returns:
        Sorted sample indices of the training and of the validation split, both int64.

    Raises:
        ValueError: If a class would have no sample in one of the splits.
    """
    smallest = int(np.bincount(labels, minlength=NUM_CLASSES).min())
    if not 0 < train_per_class < smallest:
        raise ValueError(
            f"--train-per-class must lie between 1 and {smallest - 1}, "
            f"got {train_per_class}: the smallest class has {smallest} samples."
        )
    rng = np.random.default_rng(seed)
    chosen = [
        rng.permutation(np.flatnonzero(labels == digit))[:train_per_class]
        for digit in range(NUM_CLASSES)
    ]
    train = np.sort(np.concatenate(chosen))
    return train, np.setdiff1d(np.arange(len(labels)), train)


def check_label_noise(share: float) -> None:
    """Check that a share is in [0, 1].

    Raises:
        ValueError: If it is not.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"--label-noise must lie between 0 and 1, got {share}.")


def long_tail_rows(labels: np.ndarray, imbalance: float, seed: int) -> np.ndarray:
    """Choose exponentially fewer samples from class to class, in a random order of the classes.

    Args:
        labels: Classes, shape (N,), int.
        imbalance: Ratio between the largest and the smallest class, at least 1.
        seed: Seed of the order and of the samples.

    Returns:
        Sorted indices into ``labels`` of the chosen samples, int64.

    Raises:
        ValueError: If ``imbalance`` is below 1.
    """
    if not imbalance >= 1:
        raise ValueError(f"--long-tail must be at least 1, got {imbalance}.")
    rng = np.random.default_rng([seed, 2])
    shares = tail_shares([str(digit) for digit in range(NUM_CLASSES)], imbalance, seed)
    kept = []
    for digit in range(NUM_CLASSES):
        rows = shuffled(np.flatnonzero(labels == digit), rng)
        kept += rows[: max(round(len(rows) * shares[str(digit)]), 1)]
    return np.sort(np.array(kept))


def with_label_errors(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Replace the class of some samples of each class by another one, drawn uniformly.

    Args:
        labels: True classes, shape (N,), int.
        share: Share of each class, 0 to 1, rounded to whole samples.
        seed: Seed of the samples and of their new classes.

    Returns:
        Classes with errors, shape (N,), int.
    """
    rng = np.random.default_rng([seed, 1])
    noisy = labels.copy()
    for digit in range(NUM_CLASSES):
        rows = rng.permutation(np.flatnonzero(labels == digit))
        errors = rows[: round(share * len(rows))]
        noisy[errors] = (digit + rng.integers(1, NUM_CLASSES, len(errors))) % NUM_CLASSES
    return noisy


def glyph(image: np.ndarray, size: int) -> np.ndarray:
    """Scale one digit to ``size`` pixels a side.

    Args:
        image: Shape (8, 8), values 0..16.
        size: Side of the result in pixels.

    Returns:
        Ink from 0 to 255, shape (size, size), uint8.
    """
    ink = np.clip(image * (255 / 16), 0, 255).round().astype(np.uint8)
    return np.asarray(Image.fromarray(ink).resize((size, size), Image.Resampling.BICUBIC))


def make_digits(
    out: Path = Path("data/digits"),
    train_per_class: int = 20,
    size: int = 16,
    seed: int = 0,
    label_noise: float = 0.0,
    select: int = 0,
    long_tail: float = 1.0,
) -> bool:
    """Write the digits as class folders; the arguments are described in ``OPTIONS``.

    Returns:
        False if ``out`` was complete already.

    Raises:
        ValueError: If an argument is out of range.
    """
    from sklearn.datasets import load_digits

    params: dict[str, Any] = dict(
        format=FORMAT,
        train_per_class=train_per_class,
        size=size,
        seed=seed,
        label_noise=label_noise,
        select=select,
        long_tail=long_tail,
    )
    check_label_noise(label_noise)
    if is_complete(out, params):
        return False
    digits = load_digits()
    train, val = split_digits(digits.target, train_per_class, seed)
    train = train[long_tail_rows(digits.target[train], long_tail, seed)]
    splits = dict(train=train, val=val)
    if select:
        chosen, rest = split_digits(digits.target[val], select, seed)
        splits.update(val=val[rest], select=val[chosen])
    labels = digits.target.copy()
    labels[train] = with_label_errors(labels[train], label_noise, seed)
    with manifest_folder(out, params) as (partial, manifest):
        for split, indices in splits.items():
            for index in indices:
                folder = partial / split / str(labels[index])
                folder.mkdir(parents=True, exist_ok=True)
                picture = Image.fromarray(glyph(digits.images[index], size))
                picture.save(folder / f"{index:04d}.png")
            manifest[split] = [int(index) for index in indices]
            manifest[f"{split}_wrong"] = int((labels != digits.target)[indices].sum())
            print(f"digits: {split}: {len(indices)} pictures", flush=True)
    return True


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    run_with_options(make_digits, OPTIONS, __doc__.splitlines()[0], argv)


if __name__ == "__main__":
    main()
