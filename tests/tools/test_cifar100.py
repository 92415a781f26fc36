"""Class folders of CIFAR-100: pictures and splits."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.fabricate import make_cifar100

sys.path.insert(0, str(Path(__file__).parents[2] / "tools" / "dataset_converters"))

import cifar100


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    root = tmp_path_factory.mktemp("cifar100")
    md5 = make_cifar100(root)
    return root / "cifar-100-python", md5


def test_each_picture_is_in_the_folder_of_its_class(
    published: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    source, md5 = published
    for out in ("a", "b"):
        cifar100.main([str(source), str(tmp_path / out), "--val", "1"], md5)
    content = pickle.loads((source / "train").read_bytes())
    files = {f.name: f for split in ("train", "val") for f in (tmp_path / "a" / split).glob("*/*")}
    assert sorted(files) == sorted(content["filenames"])
    for number, name in enumerate(content["filenames"]):
        assert files[name].parent.name == f"class{content['fine_labels'][number]}"
        planes = np.asarray(Image.open(files[name])).transpose(2, 0, 1)
        assert np.array_equal(planes.ravel(), content["data"][number])
    for split, count in (("train", 1), ("val", 1), ("test", 1)):
        folders = list((tmp_path / "a" / split).iterdir())
        assert len(folders) == 100 and all(len(list(f.iterdir())) == count for f in folders)
    val = [sorted(f.name for f in (tmp_path / out / "val").glob("*/*")) for out in ("a", "b")]
    assert val[0] == val[1]


def test_only_the_published_files_are_unpickled(
    published: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    source, _ = published
    with pytest.raises(SystemExit, match="is not the published file"):
        cifar100.main([str(source), str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
