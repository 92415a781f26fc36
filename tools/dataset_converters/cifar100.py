"""Make class folders of CIFAR-100: 32x32 PNGs, one folder per class.

Input: the published folder cifar-100-python (https://www.cs.toronto.edu/~kriz/cifar.html).
Output: {train,val,test}/<class>/*.png. Train and val are the published training set, of which val
holds out some pictures of each class; test is the published test set.

    python tools/dataset_converters/cifar100.py data/cifar100/cifar-100-python data/cifar100_folders
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from output import existing, report, staged_folder
from PIL import Image

MD5 = {
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
}
HINT = "Give the folder cifar-100-python of https://www.cs.toronto.edu/~kriz/cifar.html."


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="the folder cifar-100-python")
    parser.add_argument("target", type=Path, help="folder to make, e.g. data/cifar100_folders")
    parser.add_argument(
        "--val", type=int, default=50, help="pictures of each class to hold out (default: 50)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of their choice (default: 0)")
    return parser.parse_args(argv)


def read(file: Path, md5: str) -> Any:
    """Return the content of a published file.

    Raises:
        SystemExit: If the file is missing or is not the published one. Other pickles are not read,
            since a pickle can run code.
    """
    content = existing(file, HINT).read_bytes()
    if hashlib.md5(content).hexdigest() != md5:
        raise SystemExit(f"{file} is not the published file: its MD5 is not {md5}. {HINT}")
    return pickle.loads(content, encoding="latin1")


def by_class(content: Mapping[str, Any]) -> dict[int, list[int]]:
    """Return the numbers of the pictures of each class, in the order of the file."""
    numbers: dict[int, list[int]] = {}
    for number, label in enumerate(content["fine_labels"]):
        numbers.setdefault(label, []).append(number)
    return numbers


def write(content: Mapping[str, Any], numbers: list[int], folder: Path) -> None:
    """Write pictures as PNGs with their published names."""
    folder.mkdir(parents=True)
    for number in numbers:
        picture = content["data"][number].reshape(3, 32, 32).transpose(1, 2, 0)
        Image.fromarray(picture).save(folder / content["filenames"][number])


def main(argv: list[str] | None = None, md5: Mapping[str, str] = MD5) -> None:
    """Run the command."""
    args = parse_args(argv)
    train, test, meta = (read(args.source / name, md5[name]) for name in ("train", "test", "meta"))
    names = meta["fine_label_names"]
    train_numbers, test_numbers = by_class(train), by_class(test)
    with staged_folder(args.target) as stage:
        for done, (label, name) in enumerate(enumerate(names), start=1):
            numbers = train_numbers[label]
            val = random.Random(f"{args.seed} {name}").sample(numbers, args.val)
            write(train, sorted(set(numbers) - set(val)), stage / "train" / name)
            write(train, sorted(val), stage / "val" / name)
            write(test, test_numbers[label], stage / "test" / name)
            report(done, len(names), "classes", every=20)
    print(f"{args.target} is ready.")


if __name__ == "__main__":
    main()
