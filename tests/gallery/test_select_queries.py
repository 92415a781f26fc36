"""Images by path and in random order; classes by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmickd.building.images import BankImages
from mmickd.gallery.select_queries import (
    class_names,
    images_by_path,
    select_classes,
    shuffle_images,
)
from mmickd.utils.errors import ICKDError


class Data:
    """Data set of paths and classes only."""

    pipeline = staticmethod(lambda info: info)
    metainfo = {"classes": ("cat", "dog")}

    def __init__(self, *infos: tuple[str, int | None]) -> None:
        self.infos = infos

    def __len__(self) -> int:
        return len(self.infos)

    def get_data_info(self, index: int) -> dict:
        path, label = self.infos[index]
        return {"img_path": path} | ({} if label is None else {"gt_label": label})


def images(*infos: tuple[str, int | None]) -> BankImages:
    return BankImages(Data(*infos), lambda info: info)


def test_images_are_selected_by_path_or_its_end(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = images(("data/a/1.png", 0), ("data/b/1.png", 1), (f"{tmp_path}/c.png", 1))
    paths = ["a/1.png", "data/b/1.png", "c.png", f"{tmp_path}/data/a/1.png"]
    assert images_by_path(data, paths, "val") == [0, 1, 2, 0]
    with pytest.raises(ICKDError, match=r"1\.png fits 2 images of the val split"):
        images_by_path(data, ["1.png"], "val")
    with pytest.raises(ICKDError, match=r"d\.png is no image of the train split.*data/a"):
        images_by_path(data, ["d.png"], "train")


def test_classes_take_turns_and_order_does_not_matter() -> None:
    infos = [(f"{label}/{n}.png", label) for label, count in ((0, 8), (1, 3)) for n in range(count)]
    data = images(*infos)
    order = shuffle_images(data, {0, 1}, seed=0)
    assert sorted(order) == list(range(11))
    assert [len({infos[i][1] for i in order[at : at + 2]}) for at in (0, 2, 4)] == [2, 2, 2]
    other = images(*reversed(infos))
    by_name = [other.name(i) for i in shuffle_images(other, {0, 1}, seed=0)]
    assert sorted(by_name[:6]) == sorted(data.name(i) for i in order[:6])
    assert shuffle_images(data, {0, 1}, seed=1) != order
    assert {infos[i][1] for i in shuffle_images(data, {1}, seed=0)} == {1}


def test_images_of_unknown_class_all_stay() -> None:
    assert sorted(shuffle_images(images(("a", None), ("b", None)), {5}, 0)) == [0, 1]


def test_classes_have_names_or_numbers() -> None:
    data = Data(("a", 0))
    assert class_names(data, 2) == ["cat", "dog"] and class_names(data, 3) == ["0", "1", "2"]
    assert select_classes(None, ["cat", "dog"]) == {0, 1}
    with pytest.raises(ICKDError, match="no class 'cow'"):
        select_classes(["cow"], ["cat", "dog"])
