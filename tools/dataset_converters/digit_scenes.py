"""Make *digit scenes*, a small segmentation set, from data of scikit-learn (no download).

    data/digit_scenes/{img_dir,ann_dir}/{train,val,select}/<number>.png

Digits are scaled, tinted and pasted on crops of scikit-learn's two sample photographs. There are
eleven classes: 0 is the background, 1..10 are the digits 0..9. The splits share neither digits nor
background: training crops come from the left part of each photograph, validation crops from the
right part. ``--num-select`` makes a third split to choose settings on, from half of the validation
digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from digits import NUM_CLASSES, check_label_noise, glyph, split_digits
from output import is_complete, manifest_folder, run_with_options
from PIL import Image

FORMAT = 2
INK_THRESHOLD = 96
"""Minimum ink (0..255) of a pixel that belongs to the digit and not to the background."""
TINT = (180, 255)
"""Range of red, green and blue of a digit, which is brighter than the photograph."""
DIMMING = 0.4
"""Factor of the photograph's pixels."""
SMALLEST_DIGIT, LARGEST_DIGIT = 28, 36
TRIES = 12
"""Number of digits to place in a scene; a digit that would overlap another is left out."""
OPTIONS = {
    "out": "folder to make",
    "num_train": "training scenes",
    "num_val": "validation scenes",
    "train_per_class": "digits of each class in training scenes",
    "size": "side of a scene in pixels, 48 to 112 (a crop must fit the photographs)",
    "seed": "seed of digits and scenes",
    "label_noise": "share of digits with another class in the label maps of training, 0 to 1; the "
    "pictures stay the same",
    "num_select": "scenes to choose settings on",
}


class SceneMaker:
    """Generator of scenes from the digits of one split and a part of each photograph.

    Args:
        images: Digits of the split, shape (N, 8, 8), values 0..16.
        labels: Their classes 0..9, shape (N,).
        photos: Parts of the photographs, each (H, W, 3), uint8.
        size: Side of a scene in pixels.
        seed: Seed of the split; scene ``k`` depends only on (seed, k).
        label_noise: Share of the digits, 0 to 1, with another class in the label map.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        photos: list[np.ndarray],
        size: int,
        seed: int,
        label_noise: float = 0.0,
    ) -> None:
        self.images = images
        self.labels = labels
        self.photos = photos
        self.size = size
        self.seed = seed
        self.label_noise = label_noise

    def draw(self, number: int) -> tuple[np.ndarray, np.ndarray, list[dict[str, int]]]:
        """Draw one scene.

        Args:
            number: Number of the scene.

        Returns:
            The picture (size, size, 3) uint8, its label map (size, size) uint8, and for each digit
            its ``sample`` (row of ``images``), ``label`` (in the map, 1..10), and ``side``, ``top``
            and ``left`` in pixels.
        """
        rng = np.random.default_rng([self.seed, number])
        # a separate generator, so that pictures are the same with and without label errors
        error_rng = np.random.default_rng([self.seed, number, 1])
        scene = self._background(rng)
        labels = np.zeros((self.size, self.size), np.uint8)
        occupied = np.zeros((self.size, self.size), bool)
        placed: list[dict[str, int]] = []
        for _ in range(TRIES):
            side = int(rng.integers(SMALLEST_DIGIT, LARGEST_DIGIT + 1))
            top, left = (int(rng.integers(0, self.size - side + 1)) for _ in range(2))
            sample = int(rng.integers(len(self.images)))
            tint = rng.uniform(*TINT, 3)
            box = (slice(top, top + side), slice(left, left + side))
            if occupied[box].any():
                continue
            occupied[box] = True
            ink = glyph(self.images[sample], side)
            alpha = (ink / 255.0)[..., None]
            scene[box] = scene[box] * (1 - alpha) + tint * alpha
            label = int(self.labels[sample])
            if error_rng.random() < self.label_noise:
                label = (label + int(error_rng.integers(1, NUM_CLASSES))) % NUM_CLASSES
            labels[box][ink >= INK_THRESHOLD] = label + 1
            placed.append(dict(sample=sample, label=label + 1, side=side, top=top, left=left))
        return scene.round().clip(0, 255).astype(np.uint8), labels, placed

    def _background(self, rng: np.random.Generator) -> np.ndarray:
        photo = self.photos[int(rng.integers(len(self.photos)))]
        side = int(rng.integers(self.size, self.size * 2 + 1))
        top = int(rng.integers(0, photo.shape[0] - side + 1))
        left = int(rng.integers(0, photo.shape[1] - side + 1))
        crop = Image.fromarray(photo[top : top + side, left : left + side])
        crop = crop.resize((self.size, self.size), Image.Resampling.BILINEAR)
        return np.asarray(crop) * DIMMING


def scene_makers(
    train_per_class: int, size: int, seed: int, label_noise: float = 0.0, select: bool = False
) -> dict[str, SceneMaker]:
    """Return the generator of each split; see ``OPTIONS``.

    Args:
        train_per_class: Digits of each class in training scenes.
        size: Side of a scene in pixels.
        seed: Seed of the split of the digits, and of the scenes.
        label_noise: Share of the digits of training scenes with a label error.
        select: True to use half of the validation digits for the split ``select``.
    """
    from sklearn.datasets import load_digits, load_sample_images

    digits = load_digits()
    photos = load_sample_images().images
    train, val = split_digits(digits.target, train_per_class, seed)
    middle = photos[0].shape[1] * 5 // 8
    left, right = (
        [np.asarray(photo)[:, part] for photo in photos]
        for part in (slice(middle), slice(middle, None))
    )
    report = val[1::2] if select else val
    parts = dict(train=(train, left, 2 * seed, label_noise), val=(report, right, 2 * seed + 1, 0.0))
    if select:  # the seed differs from the seeds of the other splits
        parts["select"] = (val[::2], right, 10**6 + seed, 0.0)
    return {
        split: SceneMaker(
            digits.images[rows], digits.target[rows], backgrounds, size, number, noise
        )
        for split, (rows, backgrounds, number, noise) in parts.items()
    }


def make_scenes(
    out: Path = Path("data/digit_scenes"),
    num_train: int = 160,
    num_val: int = 200,
    train_per_class: int = 60,
    size: int = 80,
    seed: int = 0,
    label_noise: float = 0.0,
    num_select: int = 0,
) -> bool:
    """Write the scenes; the arguments are described in ``OPTIONS``.

    Returns:
        False if ``out`` was complete already.

    Raises:
        ValueError: If an argument is out of range.
    """
    if not 48 <= size <= 112:
        raise ValueError(f"--size must lie between 48 and 112, got {size}.")
    if num_train < 1 or num_val < 1 or num_select < 0:
        raise ValueError("--num-train and --num-val must be at least 1, --num-select at least 0.")
    check_label_noise(label_noise)
    params: dict[str, Any] = dict(
        format=FORMAT,
        num_train=num_train,
        num_val=num_val,
        train_per_class=train_per_class,
        size=size,
        seed=seed,
        label_noise=label_noise,
        num_select=num_select,
    )
    if is_complete(out, params):
        return False
    makers = scene_makers(train_per_class, size, seed, label_noise, num_select > 0)
    counts = dict(train=num_train, val=num_val, select=num_select)
    with manifest_folder(out, params) as (partial, manifest):
        for split, maker in makers.items():
            for folder in ("img_dir", "ann_dir"):
                (partial / folder / split).mkdir(parents=True)
            manifest[split] = []
            for number in range(counts[split]):
                picture, labels, placed = maker.draw(number)
                name = f"{split}/{number:04d}.png"
                Image.fromarray(picture).save(partial / "img_dir" / name)
                Image.fromarray(labels).save(partial / "ann_dir" / name)
                manifest[split].append(placed)
            print(f"digit scenes: {split}: {counts[split]} pictures", flush=True)
    return True


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    run_with_options(make_scenes, OPTIONS, __doc__.splitlines()[0], argv)


if __name__ == "__main__":
    main()
