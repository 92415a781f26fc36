"""Make class folders like CIFAR-100 from Tiny-ImageNet: 32x32 JPEGs, one folder per class.

Input: the public tiny-imagenet-200 folder (http://cs231n.stanford.edu/tiny-imagenet-200.zip) with
train/<wnid>/images/*.JPEG, val/images/*.JPEG, val/val_annotations.txt and wnids.txt.
Output: {train,val}/<wnid>/*.jpg, classes.txt (wnid, tab, words).

    python tools/dataset_converters/tin100.py tiny-imagenet-200 data/tin100
"""

import argparse
from pathlib import Path

from output import existing, report, staged_folder
from PIL import Image

CLASS_LIST = Path(__file__).with_name("tin100_classes.txt")
HINT = (
    "Give the unzipped tiny-imagenet-200 folder (http://cs231n.stanford.edu/tiny-imagenet-200.zip)."
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="the unzipped tiny-imagenet-200 folder")
    parser.add_argument("target", type=Path, help="folder to make, e.g. data/tin100")
    parser.add_argument(
        "--classes",
        default=str(CLASS_LIST),
        help="'all', or a text file with one wnid per line (default: the 100 classes of "
        f"{CLASS_LIST.name} beside this script)",
    )
    parser.add_argument(
        "--size", type=int, default=32, help="height and width of the result (default: 32)"
    )
    parser.add_argument("--quality", type=int, default=90, help="JPEG quality (default: 90)")
    parser.add_argument(
        "--train-per-class",
        type=int,
        default=None,
        help="keep the first N training pictures of a class, by number (default: all 500)",
    )
    return parser.parse_args()


def read_classes(source: Path, classes: str) -> list[str]:
    """Return the wnids to convert, in file order.

    Args:
        source (Path): The tiny-imagenet-200 folder.
        classes (str): ``'all'`` or the path of a text file.

    Returns:
        list[str]: The wnids, each once.

    Raises:
        SystemExit: If a file is missing or lists a wnid that Tiny-ImageNet lacks.
    """
    all_wnids = existing(source / "wnids.txt", HINT).read_text().split()
    if classes == "all":
        return all_wnids
    listed = existing(Path(classes), "Give --classes all, or a text file.").read_text().split()
    unknown = sorted(set(listed) - set(all_wnids))
    if unknown:
        raise SystemExit(f"{classes} lists wnids that {source / 'wnids.txt'} lacks: {unknown[:5]}.")
    return list(dict.fromkeys(listed))


def train_pictures(source: Path, wnid: str, limit: int | None) -> list[Path]:
    """Return the training pictures of a class, sorted by number, at most ``limit``."""
    folder = existing(source / "train" / wnid / "images", HINT)
    pictures = sorted(folder.glob("*.JPEG"), key=lambda path: (len(path.name), path.name))
    return pictures[:limit]


def val_pictures(source: Path) -> dict[str, list[Path]]:
    """Return the validation pictures of each class, as val_annotations.txt lists them."""
    pictures: dict[str, list[Path]] = {}
    for line in existing(source / "val" / "val_annotations.txt", HINT).read_text().splitlines():
        if line.strip():
            name, wnid = line.split()[:2]
            pictures.setdefault(wnid, []).append(source / "val" / "images" / name)
    return pictures


def convert(pictures: list[Path], folder: Path, size: int, quality: int) -> None:
    """Write the pictures to ``folder`` as RGB JPEGs of ``size`` x ``size``."""
    folder.mkdir(parents=True)
    for path in pictures:
        with Image.open(existing(path, HINT)) as image:
            # from 64 to 32: the mean of each 2x2 block
            small = image.convert("RGB").resize((size, size), Image.Resampling.BOX)
        small.save(folder / f"{path.stem}.jpg", quality=quality)


def write_classes(source: Path, wnids: list[str], path: Path) -> None:
    """Write one line per class: wnid, tab, words (where the source has words.txt)."""
    words_file = source / "words.txt"
    lines = words_file.read_text().splitlines() if words_file.exists() else []
    words = dict(line.split("\t", 1) for line in lines if "\t" in line)
    path.write_text("".join(f"{wnid}\t{words.get(wnid, wnid)}\n" for wnid in wnids))


def main() -> None:
    """Run the command."""
    args = parse_args()
    wnids = read_classes(args.source, args.classes)
    val = val_pictures(args.source)
    with staged_folder(args.target) as stage:
        for done, wnid in enumerate(wnids, start=1):
            train = train_pictures(args.source, wnid, args.train_per_class)
            convert(train, stage / "train" / wnid, args.size, args.quality)
            convert(val.get(wnid, []), stage / "val" / wnid, args.size, args.quality)
            report(done, len(wnids), "classes", every=10)
        write_classes(args.source, wnids, stage / "classes.txt")
    print(f"{args.target} is ready.")


if __name__ == "__main__":
    main()
