"""Make class folders of PNG pictures from scikit-learn's digits (no download).

    data/digits/{train,val,select}/<0..9>/<sample>.png

The layout is that of ``mmpretrain.CustomDataset``. The training split is small and balanced on
purpose, so that a teacher has something to give; everything else is the validation split, of which
``--select`` holds some out to choose settings on. With ``--long-tail`` most classes keep fewer
training pictures, with ``--label-noise`` some of them lie in the folder of another class.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from derive import shuffled, tail_shares
from finished_folder import finished_folder, is_complete
from PIL import Image

FORMAT = 1
NUM_CLASSES = 10


def split_digits(
    labels: np.ndarray, train_per_class: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Choose ``train_per_class`` samples of each class; the others validate.

    Args:
        labels: Digit of each sample, shape (N,), int.
        train_per_class: Training samples of each class.
        seed: Seed of the choice.

    Returns:
        Sorted sample indices of the training and of the validation split, both int64.

    Raises:
        ValueError: If a class would be left without a sample in one of the splits.
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
    """Refuse what is no share.

    Raises:
        ValueError: If it lies outside of 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"--label-noise must lie between 0 and 1, got {share}.")


def long_tail(labels: np.ndarray, imbalance: float, seed: int) -> np.ndarray:
    """Keep exponentially fewer samples from class to class, in an order of classes that is drawn.

    Args:
        labels: Classes, shape (N,), int.
        imbalance: How many times more the largest class keeps than the smallest, at least 1.
        seed: Seed of the order and of which samples.

    Returns:
        Sorted places in ``labels`` of those that stay, int64.

    Raises:
        ValueError: If ``imbalance`` is below 1.
    """
    if not imbalance >= 1:
        raise ValueError(f"--long-tail must be at least 1, got {imbalance}.")
    rng = np.random.default_rng([seed, 2])
    shares = tail_shares([str(digit) for digit in range(NUM_CLASSES)], imbalance, seed)
    kept = []
    for digit in range(NUM_CLASSES):
        own = shuffled(np.flatnonzero(labels == digit), rng)
        kept += own[: max(round(len(own) * shares[str(digit)]), 1)]
    return np.sort(np.array(kept))


def mislabelled(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Give some samples of each class another class, drawn uniformly.

    Args:
        labels: True classes, shape (N,), int.
        share: Share of each class, 0 to 1, to the nearest sample.
        seed: Seed of which samples, and of their classes.

    Returns:
        Classes with errors, shape (N,), int.
    """
    rng = np.random.default_rng([seed, 1])
    noisy = labels.copy()
    for digit in range(NUM_CLASSES):
        own = rng.permutation(np.flatnonzero(labels == digit))
        wrong = own[: round(share * len(own))]
        noisy[wrong] = (digit + rng.integers(1, NUM_CLASSES, len(wrong))) % NUM_CLASSES
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
    out: Path,
    train_per_class: int = 20,
    size: int = 16,
    seed: int = 0,
    label_noise: float = 0.0,
    select: int = 0,
    imbalance: float = 1.0,
) -> bool:
    """Write the digits as class folders.

    Args:
        out: Folder to make.
        train_per_class: Training samples of each class.
        size: Side of the pictures in pixels.
        seed: Seed of the split.
        label_noise: Share of each class's training samples, 0 to 1, that bear a wrong label.
        select: Validation samples of each class to hold out as the split ``select``.
        imbalance: How many times more training samples the largest class keeps than the smallest.

    Returns:
        False if ``out`` was complete already and nothing was done.
    """
    from sklearn.datasets import load_digits

    params: dict[str, Any] = dict(
        format=FORMAT,
        train_per_class=train_per_class,
        size=size,
        seed=seed,
        label_noise=label_noise,
        select=select,
        long_tail=imbalance,
    )
    check_label_noise(label_noise)
    if is_complete(out, params):
        return False
    digits = load_digits()
    train, val = split_digits(digits.target, train_per_class, seed)
    train = train[long_tail(digits.target[train], imbalance, seed)]
    splits = dict(train=train, val=val)
    if select:
        chosen, rest = split_digits(digits.target[val], select, seed)
        splits.update(val=val[rest], select=val[chosen])
    labels = digits.target.copy()
    labels[train] = mislabelled(labels[train], label_noise, seed)
    with finished_folder(out, params) as (partial, manifest):
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


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("data/digits"), help="folder to make")
    parser.add_argument(
        "--train-per-class", type=int, default=20, help="training samples of each digit"
    )
    parser.add_argument("--size", type=int, default=16, help="side of the pictures in pixels")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split")
    parser.add_argument(
        "--long-tail",
        type=float,
        default=1.0,
        help="how many times more training samples the largest class keeps than the smallest",
    )
    parser.add_argument(
        "--label-noise",
        type=float,
        default=0.0,
        help="share of wrong labels in training",
    )
    parser.add_argument(
        "--select", type=int, default=0, help="pictures of each digit to choose settings on"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Entry point of the command line."""
    args = parse_args(argv)
    made = make_digits(
        args.out,
        args.train_per_class,
        args.size,
        args.seed,
        args.label_noise,
        args.select,
        args.long_tail,
    )
    print(f"digits: {args.out} is {'ready' if made else 'complete already, nothing to do'}")


if __name__ == "__main__":
    main()
