"""Files that a config names are checked before anything is built."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.model import PretrainedInit

from mmickd.commands.arguments import read_config
from mmickd.hooks import ICKDHook
from mmickd.hooks.needed_files import check_files, needed_files
from mmickd.utils.errors import ICKDError


def loader(**dataset):
    return dict(batch_size=2, dataset=dict(type="CustomDataset", **dataset))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder in ("data/train", "data/val"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "picture.png").touch()
    (tmp_path / "data/train.txt").touch()
    (tmp_path / "teacher.pth").touch()
    (tmp_path / "teacher.py").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def message(cfg, splits=("train", "val")) -> str:
    with pytest.raises(ICKDError) as caught:
        check_files(cfg, splits)
    return str(caught.value)


def test_complete_config_passes(root):
    check_files(
        dict(
            train_dataloader=loader(data_root="data", data_prefix="train", ann_file="train.txt"),
            val_dataloader=loader(data_root="data", data_prefix=dict(img_path="val")),
            test_dataloader=loader(data_root="nowhere"),  # not used by training
            load_from="https://example.com/a.pth",
            custom_hooks=[
                dict(
                    type="mmickd.ICKDHook", teacher=dict(cfg="teacher.py", checkpoint="teacher.pth")
                )
            ],
        )
    )


def test_missing_root_is_named_once_with_its_keys_and_the_hint(root):
    cfg = dict(
        data_hint="python tools/make_it.py",
        train_dataloader=loader(data_root="gone", data_prefix="train", ann_file="a.txt"),
        val_dataloader=loader(data_root="gone", data_prefix="val"),
    )
    text = message(cfg)
    assert text.count("gone") == 1  # the root, not each thing below it
    assert "train_dataloader.dataset.data_root, val_dataloader.dataset.data_root" in text
    assert "python tools/make_it.py" in text
    assert str(root) in text  # the folder that the relative path starts from


@pytest.mark.parametrize(
    ("dataset", "key", "path"),
    [
        (dict(data_prefix="no"), "data_prefix", "data/no"),
        (dict(data_prefix=dict(img_path="train", seg_map_path="no")), "seg_map_path", "data/no"),
        (dict(ann_file="no.txt"), "ann_file", "data/no.txt"),
        (dict(ann_file="/no/such.txt"), "ann_file", "/no/such.txt"),
    ],
)
def test_each_part_of_a_dataset(root, dataset, key, path):
    text = message(dict(train_dataloader=loader(data_root="data", **dataset)))
    assert key in text and path in text


def test_wrapped_datasets(root):
    part = loader(data_root="data", data_prefix="no")["dataset"]
    whole = loader(data_root="data", data_prefix="train")["dataset"]
    concat = dict(type="ConcatDataset", datasets=[whole, part])
    cfg = dict(train_dataloader=dict(dataset=dict(type="RepeatDataset", times=2, dataset=concat)))
    assert "train_dataloader.dataset.dataset.datasets.1.data_prefix" in message(cfg)


def test_a_split_that_is_switched_off_is_not_checked(root):
    check_files(dict(val_cfg=None, val_dataloader=loader(data_root="gone")))
    assert "gone" in message(dict(val_cfg={}, val_dataloader=loader(data_root="gone")))


def test_cifar(root):
    cifar = dict(train_dataloader=dict(dataset=dict(type="CIFAR100", data_root="data/c")))
    check_files(cifar)  # downloads itself
    cifar["train_dataloader"]["dataset"]["download"] = False
    assert "data/c" in message(cifar)
    (root / "data/c/other").mkdir(parents=True)
    assert "data/c/cifar-100-python" in message(cifar)
    (root / "data/c/cifar-100-python").mkdir()
    (root / "data/c/cifar-100-python/train").touch()
    check_files(cifar)


def test_teacher(root):
    teacher = dict(cfg="no_such_teacher.py", checkpoint="no.pth")
    cfg = dict(
        checkpoint_hint="train the teacher first",
        custom_hooks=[dict(type="EMAHook"), dict(type="ICKDHook", teacher=teacher)],
    )
    text = message(cfg)
    assert "no_such_teacher.py  (from custom_hooks.1.teacher.cfg)" in text
    assert "no.pth  (from custom_hooks.1.teacher.checkpoint)" in text
    assert "train the teacher first" in text
    teacher.update(cfg=dict(model=dict(type="A")), checkpoint="https://example.com/t.pth")
    check_files(cfg)


class OwnHook(ICKDHook):
    """Hook that a user derived."""


@pytest.mark.parametrize(
    "kind", [ICKDHook, OwnHook, f"{__name__}.OwnHook", "mmickd.hooks.ICKDHook"]
)
def test_the_teacher_of_a_hook_whose_type_is_a_class(root, kind):
    teacher = dict(cfg="no_such_teacher.py", checkpoint="no.pth")
    text = message(dict(custom_hooks=[dict(type=kind, teacher=teacher)]))
    assert "no.pth  (from custom_hooks.0.teacher.checkpoint)" in text


def test_initial_weights(root):
    backbone = dict(type="ResNet", init_cfg=dict(type="Pretrained", checkpoint="no.pth"))
    text = message(dict(load_from="gone.pth", model=dict(backbone=backbone)))
    assert "gone.pth  (from load_from)" in text
    assert "no.pth  (from model.backbone.init_cfg.checkpoint)" in text
    backbone["init_cfg"]["type"] = PretrainedInit
    assert text == message(dict(load_from="gone.pth", model=dict(backbone=backbone)))
    backbone["init_cfg"]["checkpoint"] = "torchvision://resnet50"
    check_files(dict(model=dict(backbone=backbone)))


def test_needs_are_listed_without_reading_the_disk():
    cfg = dict(test_dataloader=loader(data_root="s3://bucket/data", ann_file="a.txt"))
    needs = list(needed_files(cfg, ["test"]))
    assert [need.path for need in needs] == ["s3://bucket/data", "s3://bucket/data/a.txt"]
    assert all(need.exists for need in needs)


PETREL = dict(backend="petrel", path_mapping={"data/": "s3://bucket/data/"})
LOAD = dict(type="LoadImageFromFile")


@pytest.mark.parametrize(
    "remote",
    [
        dict(backend_args=PETREL),
        dict(backend_args=dict(backend="http")),
        dict(file_client_args=dict(backend="lmdb", db_path="data/train.lmdb")),
        dict(pipeline=[dict(LOAD, backend_args=PETREL)]),
    ],
)
def test_files_of_other_backends_are_not_checked(root, remote):
    gone = dict(data_root="gone", data_prefix="no", ann_file="no.txt")
    check_files(dict(train_dataloader=loader(**gone, **remote)))
    inner = loader(**gone, **remote)["dataset"]
    check_files(dict(train_dataloader=loader(dataset=inner)))


@pytest.mark.parametrize(
    "local",
    [
        dict(backend_args=None),
        dict(backend_args=dict(backend="local")),
        dict(file_client_args=dict(backend="disk")),
        dict(pipeline=[dict(LOAD, backend_args=None), lambda results: results]),
        dict(pipeline=None),
    ],
)
def test_files_of_the_local_backend_are_checked(root, local):
    assert "gone" in message(dict(train_dataloader=loader(data_root="gone", **local)))


def test_an_empty_folder_counts_as_missing(tmp_path: Path) -> None:
    """mmengine would stop with a message about arrays."""
    (tmp_path / "img_dir").mkdir()
    dataset = dict(type="X", data_root=str(tmp_path), data_prefix=dict(img_path="img_dir"))
    with pytest.raises(ICKDError, match="missing or empty") as caught:
        check_files(dict(train_dataloader=dict(dataset=dataset)), splits=("train",))
    assert str(tmp_path / "img_dir") in str(caught.value)


@pytest.mark.parametrize(
    "names",
    [
        dict(data_root="~/data", data_prefix="train"),
        dict(data_root="$PLACE", data_prefix="train"),
        dict(data_root="${PLACE}", data_prefix=dict(img_path="train")),
        dict(data_root="data", data_prefix="train"),
        dict(data_root="", data_prefix="$PLACE/train"),
        dict(data_root="gone", data_prefix="~/data/train"),  # the root is not opened
        dict(data_root="gone", data_prefix="train"),
        dict(data_root="$NOT_SET/data", data_prefix="train"),
        dict(data_root="~/data", data_prefix="gone"),
        dict(data_root="~/data", data_prefix="train", ann_file="~/data/train.txt"),
        dict(data_root="~/data", data_prefix="train", ann_file="gone.txt"),
    ],
)
@pytest.mark.parametrize("scope", ["mmseg", "mmpretrain"])
def test_the_check_agrees_with_the_data_set(root, names, scope, monkeypatch):
    module = pytest.importorskip(f"{scope}.datasets")
    monkeypatch.setenv("HOME", str(root))
    monkeypatch.setenv("PLACE", str(root / "data"))
    monkeypatch.delenv("NOT_SET", raising=False)
    (root / "data/train/a").mkdir()
    (root / "data/train/a/0.png").touch()
    (root / "data/train/0.png").touch()
    (root / "data/train.txt").write_text("0 0\n")
    if scope == "mmseg":
        prefix = names["data_prefix"]
        prefix = dict(img_path=prefix) if isinstance(prefix, str) else prefix
        names = dict(names, data_prefix=prefix, img_suffix=".png")
    (root / "c.py").write_text(f"train_dataloader = {loader(**names)}")
    cfg = read_config("c.py")
    dataset = dict(cfg.train_dataloader.dataset)
    del dataset["type"]
    kind = module.CustomDataset if scope == "mmpretrain" else module.BaseSegDataset
    try:
        is_there = len(kind(**dataset, pipeline=[])) > 0
    except (AssertionError, OSError, RuntimeError, ValueError):
        is_there = False
    if is_there:
        check_files(cfg)
    else:
        assert "missing or empty" in message(cfg)


def test_a_variable_that_is_not_set_is_named(root, monkeypatch):
    monkeypatch.delenv("NOT_SET", raising=False)
    text = message(dict(train_dataloader=loader(data_root="$NOT_SET/data")))
    assert "$NOT_SET/data" in text and "environment variable" in text


def test_lists_of_paths(root):
    roots = dict(data_root=["data", "gone"], data_prefix="train")
    text = message(dict(train_dataloader=loader(**roots)))
    assert "gone  (from train_dataloader.dataset.data_root)" in text and "data/gone" not in text
    prefixes = dict(data_root="data", data_prefix=dict(img_path=["train", "no"]))
    assert "data/no  (from train" in message(dict(train_dataloader=loader(**prefixes)))
