"""Tiny data sets in the layouts that the shipped configs read, and configs that point to them."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from PIL import Image

DATALOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


def write_picture(path: Path, rng: np.random.Generator, size: tuple[int, int]) -> None:
    """Write an RGB picture of noise; ``size`` is (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)


def write_labels(
    path: Path, rng: np.random.Generator, size: tuple[int, int], num_classes: int, ignore: int = 255
) -> None:
    """Write a label map of 16x16 blocks, the first of them ``ignore``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = rng.integers(0, num_classes, (size[0] // 16, size[1] // 16), dtype=np.uint8)
    blocks[0, 0] = ignore
    Image.fromarray(blocks.repeat(16, 0).repeat(16, 1)).save(path)


def make_segmentation(
    root: Path,
    image_dir: str,
    label_dir: str,
    num_classes: int,
    suffixes: tuple[str, str] = (".png", ".png"),
    num_images: int = 4,
    size: tuple[int, int] = (64, 96),
    splits: tuple[str, ...] = ("train", "val"),
    ignore: int = 255,
) -> Path:
    """Write ``<image_dir>/<split>`` and ``<label_dir>/<split>``, with ``{split}`` filled in."""
    rng = np.random.default_rng(0)
    for split in splits:
        for i in range(num_images if split == "train" else num_images // 2):
            image = root / image_dir.format(split=split) / f"picture{i}{suffixes[0]}"
            labels = root / label_dir.format(split=split) / f"picture{i}{suffixes[1]}"
            write_picture(image, rng, size)
            write_labels(labels, rng, size, num_classes, ignore)
    return root


def make_camvid(root: Path) -> Path:
    """Write the layout that tools/dataset_converters/camvid.py makes."""
    return make_segmentation(root, "img_dir/{split}", "ann_dir/{split}", num_classes=11)


def make_cityscapes(root: Path) -> Path:
    """Write ``leftImg8bit`` and ``gtFine`` with one city."""
    return make_segmentation(
        root,
        "leftImg8bit/{split}/city",
        "gtFine/{split}/city",
        num_classes=19,
        suffixes=("_leftImg8bit.png", "_gtFine_labelTrainIds.png"),
    )


def make_class_folders(
    root: Path, num_classes: int = 100, num_images: int = 2, size: tuple[int, int] = (32, 32)
) -> Path:
    """Write ``{train,val}/<class>/*.jpg``."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for c in range(num_classes):
            for i in range(num_images):
                write_picture(root / split / f"n{c:08d}" / f"{i}.jpg", rng, size)
    return root


def make_cifar100(root: Path) -> dict[str, str]:
    """Write the pickles of CIFAR-100 with 200 training pictures and 100 test pictures.

    Returns:
        MD5 of each file, for ``patch_cifar100``.
    """
    rng = np.random.default_rng(0)
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    files: dict[str, dict] = {
        name: dict(
            data=rng.integers(0, 256, (count, 3072), dtype=np.uint8),
            fine_labels=[i // (count // 100) for i in range(count)],
            filenames=[f"{name}_{i}.png" for i in range(count)],
        )
        for name, count in (("train", 200), ("test", 100))
    }
    files["meta"] = dict(fine_label_names=[f"class{i}" for i in range(100)])
    md5 = {}
    for name, content in files.items():
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        md5[name] = hashlib.md5(data).hexdigest()
    return md5


def inner_dataset(loader: dict[str, Any]) -> dict[str, Any]:
    """Return the config of a loader's data set without its wrappers."""
    dataset = loader["dataset"]
    while "dataset" in dataset:
        dataset = dataset["dataset"]
    return dataset


def point_to(cfg: Config, root: Path) -> Config:
    """Replace the data of a config by tiny data, and stop it after two iterations and a validation.

    Model, losses, optimizer, learning rate and hooks stay as shipped; only the download of ImageNet
    weights and the checkpoint at the end (up to 700 MB) are left out. A segmenter gets 2 crops of
    64x64 a step, a classifier 8 pictures.
    """
    for name in DATALOADERS:
        loader = cfg[name]
        loader.num_workers = 0
        loader.persistent_workers = False
        dataset = inner_dataset(loader)
        dataset.data_root = str(root)
        for transform in dataset.pipeline:
            if transform.type in ("RandomResize", "Resize") and cfg.default_scope == "mmseg":
                transform.scale = (96, 64)
            elif transform.type == "RandomCrop" and not isinstance(transform.crop_size, int):
                transform.crop_size = (64, 64)
    cfg.default_hooks.checkpoint.save_last = False
    if cfg.default_scope == "mmseg":
        cfg.train_dataloader.batch_size = 2
        cfg.model.data_preprocessor.size = (64, 64)
        cfg.model.pretrained = None
        cfg.train_cfg.update(max_iters=2, val_interval=2)
    else:
        cfg.train_dataloader.batch_size = 8
        for name in DATALOADERS:
            inner_dataset(cfg[name]).indices = list(range(16))
        cfg.train_cfg.update(max_epochs=1, val_interval=1)
    return cfg
