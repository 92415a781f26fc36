r"""Derive class folders from other class folders: fewer pictures, label errors or a long tail.

    OUT/{train,val,select}/<class>/<true class of the picture>_<file of the source>

The steps have the order of the options. The random order of the pictures of a class depends only
on the seed and the class: of two sets that differ in --per-class, the larger contains the smaller,
and both hold out the same pictures. Pictures are hard links, or copies if the file system has no
links.

    python tools/dataset_converters/derive.py data/tin100 data/tin20_noisy --classes 0:20 \
        --select 50 --per-class 200 --label-noise 0.4
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import shutil
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from zlib import crc32

import numpy as np
from output import existing, is_complete, manifest_folder, print_state

FORMAT = 1
HINT = "Give a folder with train/<class>/ and val/<class>/, as the other converters make."

Item = TypeVar("Item")
Pictures = dict[str, list[Path]]


class Placed(NamedTuple):
    """Picture with the class of its folder (``label``) and its true class (``truth``)."""

    source: Path
    label: str
    truth: str

    @property
    def name(self) -> str:
        """Unique file name in the derived set."""
        return f"{self.truth}_{self.source.name}"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="class folders, for example data/tin100")
    parser.add_argument("out", type=Path, help="folder to make")
    parser.add_argument(
        "--classes", help="text file with a class per line, or a slice of the sorted classes: 0:20"
    )
    held = parser.add_mutually_exclusive_group()
    held.add_argument(
        "--select",
        type=int,
        help="pictures of each class to move from train to a split to choose settings on",
    )
    held.add_argument(
        "--select-from-val",
        type=float,
        help="share of each class, 0 to 1, to move from val to that split instead",
    )
    parser.add_argument("--per-class", type=int, help="training pictures of each class to keep")
    parser.add_argument(
        "--long-tail",
        type=float,
        help="ratio of training pictures between the largest and the smallest class; they fall "
        "exponentially, in a random order of the classes",
    )
    parser.add_argument(
        "--label-noise",
        type=float,
        help="share of the training pictures of each class, 0 to 1, to move to the folder of "
        "another class, drawn uniformly; noise.csv holds the true classes",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of all random choices")
    return parser.parse_args(argv)


def read_split(source: Path, split: str) -> Pictures:
    """Return the files of each class of a split, both sorted by name."""
    folders = sorted(path for path in existing(source / split, HINT).iterdir() if path.is_dir())
    return {folder.name: sorted(folder.iterdir()) for folder in folders}


def chosen_classes(choice: str | None, known_classes: list[str]) -> list[str]:
    """Return the classes that ``--classes`` names: all, a slice, or the lines of a file.

    Raises:
        SystemExit: If no class remains, or a class is not in the source.
    """
    first, colon, last = (choice or ":").partition(":")
    if colon and all(end == "" or end.isdecimal() for end in (first, last)):
        classes = known_classes[int(first or 0) : int(last or len(known_classes))]
    else:
        lines = existing(Path(str(choice)), "Give --classes a text file or a:b.").read_text()
        classes = sorted({line.split("\t")[0].strip() for line in lines.splitlines()} - {""})
    unknown = sorted(set(classes) - set(known_classes))
    if unknown or not classes:
        lacks = f"and lacks {unknown[:5]}" if unknown else "none of these"
        raise SystemExit(
            f"--classes {choice}: the source has {len(known_classes)} classes, {lacks}."
        )
    return classes


def generator(seed: int, purpose: str, name: str = "") -> np.random.Generator:
    """Return the random generator of one purpose and one class."""
    return np.random.default_rng([seed, crc32(purpose.encode()), crc32(name.encode())])


def shuffled(items: Sequence[Item], rng: np.random.Generator) -> list[Item]:
    """Return the items in a random order."""
    return [items[place] for place in rng.permutation(len(items))]


def tail_shares(classes: list[str], imbalance: float, seed: int) -> dict[str, float]:
    """Return the share of its pictures that each class keeps, from 1 down to 1 / ``imbalance``."""
    order = shuffled(classes, generator(seed, "tail"))
    return {name: imbalance ** (-rank / max(len(order) - 1, 1)) for rank, name in enumerate(order)}


def with_noise(pictures: Pictures, share: float, seed: int) -> list[Placed]:
    """Return pictures with label errors: ``share`` of each class get another class as label.

    Args:
        pictures (Pictures): Training pictures by their true class.
        share (float): Share of each class, 0 to 1, rounded to whole pictures; the other class is
            drawn uniformly.
        seed (int): Seed of the choice of the pictures, and of their labels.
    """
    placed = []
    for name, files in pictures.items():
        rng = generator(seed, "noise", name)
        other_classes = [other for other in pictures if other != name]
        errors = set(shuffled(range(len(files)), rng)[: round(share * len(files))])
        for place, file in enumerate(files):
            label = name
            if place in errors:
                label = other_classes[int(rng.integers(len(other_classes)))]
            placed.append(Placed(file, label, name))
    return placed


def arrange(train: Pictures, val: Pictures, args: argparse.Namespace) -> dict[str, list[Placed]]:
    """Assign each picture to a split and a folder.

    Args:
        train (Pictures): Training pictures by class.
        val (Pictures): Validation pictures of the same classes.
        args (argparse.Namespace): The command line.

    Returns:
        dict[str, list[Placed]]: Pictures of each split: train, val, and select if it is not empty.

    Raises:
        SystemExit: If a class has too few pictures.
    """
    shares = tail_shares(list(train), args.long_tail or 1, args.seed)
    kept, held, validated = {}, {}, {}
    for name in train:
        files = shuffled(train[name], generator(args.seed, "train", name))
        checked = shuffled(val[name], generator(args.seed, "val", name))
        from_train = args.select or 0
        from_val = round((args.select_from_val or 0) * len(checked))
        held[name] = files[:from_train] + checked[:from_val]
        validated[name] = checked[from_val:]
        rest = files[from_train:]
        number = len(rest) if args.per_class is None else args.per_class
        if not 0 < number <= len(rest):
            raise SystemExit(
                f"class {name} has {len(files)} training pictures: too few for --select "
                f"{from_train} and {max(number, 1)} to train on."
            )
        kept[name] = rest[: max(round(number * shares[name]), 1)]
    splits = {"train": with_noise(kept, args.label_noise or 0, args.seed)}
    for split, pictures in (("val", validated), ("select", held)):
        if split == "val" or any(pictures.values()):
            splits[split] = [
                Placed(file, name, name) for name, files in pictures.items() for file in files
            ]
    return splits


def place(file: Path, target: Path) -> None:
    """Link a file to another name, or copy it if links are impossible."""
    try:
        os.link(file, target)
    except FileExistsError:
        raise
    except OSError:
        shutil.copy2(file, target)


def derive(args: argparse.Namespace) -> bool:
    """Write the derived set.

    Args:
        args (argparse.Namespace): The command line.

    Returns:
        bool: False if the folder was complete already.

    Raises:
        SystemExit: If an option is out of range, or the source is not in class folders.
    """
    check(args)
    train, val = (read_split(args.source, split) for split in ("train", "val"))
    classes = chosen_classes(args.classes, list(train))
    train = {name: train[name] for name in classes}
    val = {name: val.get(name, []) for name in classes}
    files = [str(file) for part in (train, val) for pictures in part.values() for file in pictures]
    digest = hashlib.sha256("\n".join(files).encode()).hexdigest()
    params: dict[str, Any] = dict(format=FORMAT, files=digest, **vars(args))
    params = {key: str(v) if isinstance(v, Path) else v for key, v in params.items()}
    if is_complete(args.out, params):
        return False
    with manifest_folder(args.out, params) as (partial, manifest):
        for split, pictures in arrange(train, val, args).items():
            for name in classes:
                (partial / split / name).mkdir(parents=True)
            for picture in pictures:
                place(picture.source, partial / split / picture.label / picture.name)
            manifest[split] = len(pictures)
            print(f"{split}: {len(pictures)} pictures of {len(classes)} classes", flush=True)
            if split == "train" and args.label_noise:
                write_truth(pictures, partial / "noise.csv")
    return True


def write_truth(pictures: list[Placed], path: Path) -> None:
    """Write the file, label and true class of each training picture."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "label", "truth"))
        writer.writerows((picture.name, picture.label, picture.truth) for picture in pictures)


def check(args: argparse.Namespace) -> None:
    """Raise ``SystemExit`` for options out of range, and if the output folder holds the source."""
    if args.out.resolve() in (args.source.resolve(), *args.source.resolve().parents):
        raise SystemExit(f"{args.out} is the source or holds it: name another folder to make.")
    for name, low, high in (
        ("select", 0, inf),
        ("select_from_val", 0, 1),
        ("per_class", 1, inf),
        ("long_tail", 1, inf),
        ("label_noise", 0, 1),
    ):
        value = getattr(args, name)
        if value is not None and not low <= value <= high:
            bounds = f"at least {low}" if high == inf else f"{low} to {high}"
            raise SystemExit(f"--{name.replace('_', '-')} must be {bounds}, got {value}.")


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    args = parse_args(argv)
    print_state(args.out, derive(args))


if __name__ == "__main__":
    main()
