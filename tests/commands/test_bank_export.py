"""``mmickd bank export``."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmickd.banks import MemoryBank
from mmickd.commands import bank
from mmickd.sampling import image_id
from mmickd.storage.cache import BankCache
from mmickd.storage.files import MANIFEST
from mmickd.storage.image_names import NAMES
from mmickd.structures import Samples
from mmickd.utils.errors import ICKDError
from tests.helpers import toys
from tests.helpers.stored_banks import CACHE_KEY, make_bank
from tests.helpers.tiny import plain_config_text

NO_UTF8 = "caf\udce9.png"
PATHS = ["a/0.png", "b\n1.png", NO_UTF8]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Folder of a bank with the paths of all its images."""
    ids = torch.tensor([image_id(name) for name in PATHS])
    half = torch.float16
    rows = Samples(torch.rand(3, 4).to(half), torch.rand(3, 2).to(half), torch.arange(3) // 2, ids)
    cache = BankCache(tmp_path / "cache", names=lambda: PATHS)
    return cache.save(MemoryBank(rows, 2), {**CACHE_KEY, "num_classes": 2})


def export(source: Path | str, out: Path, *words: str) -> int:
    with plain_config_text():
        return bank.main(["export", str(source), "--out", str(out), *words]) or 0


def test_by_config_every_row_has_its_image(tmp_path: Path, capsys: Any) -> None:
    """The bank is built; the file has its rows, and each label matches the folder of its image."""
    cfg = toys.classifier().distilled(bank=dict(cache_dir=str(tmp_path / "cache")))
    with plain_config_text():
        cfg.dump(tmp_path / "run.py")
    out, facts = tmp_path / "new" / "rows.npz", tmp_path / "facts.json"
    assert export(tmp_path / "run.py", out, "--json", str(facts)) == 0
    rows = np.load(out, allow_pickle=False)
    stored = toys.cached_banks(tmp_path / "cache")["image"]
    assert set(rows) == {"images", *stored}
    for name, tensor in stored.items():
        assert rows[name].dtype == tensor.numpy().dtype
        assert np.array_equal(rows[name], tensor.numpy())
    pictures = {str(path) for path in (toys.classifier().data / "train").rglob("*.png")}
    assert set(rows["images"].tolist()) == pictures
    assert [int(Path(path).parent.name[1:]) for path in rows["images"]] == rows["labels"].tolist()
    result = json.loads(facts.read_text())
    assert (result["rows"], result["rows_without_image"]) == (len(pictures), 0)
    assert f"written to {out}" in capsys.readouterr().out.splitlines()
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_with_two_levels_one_must_be_named(tmp_path: Path) -> None:
    toy = toys.segmenter()
    cache = dict(cache_dir=str(tmp_path / "cache"), pixels_per_image=2)
    cfg = toy.distilled(level=["pixel", "region"], bank=cache)
    with plain_config_text():
        cfg.dump(tmp_path / "run.py")
    with pytest.raises(ICKDError, match="pixel, region: choose one by --level"):
        export(tmp_path / "run.py", tmp_path / "rows.npz")
    assert export(tmp_path / "run.py", tmp_path / "rows.npz", "--level", "pixel") == 0
    rows = np.load(tmp_path / "rows.npz")
    assert np.array_equal(rows["ids"], toys.cached_banks(tmp_path / "cache")["pixel"]["ids"])
    assert {Path(path).parent for path in rows["images"]} == {toy.data / "img_dir" / "train"}


def test_by_name_in_the_cache_and_by_folder(folder: Path, tmp_path: Path) -> None:
    words = "--cache-dir", str(folder.parent)
    assert export(folder.name, tmp_path / "one.npz", *words) == 0
    assert export(folder, tmp_path / "two.npz", "--level", "image") == 0
    for name in ("one.npz", "two.npz"):
        assert np.load(tmp_path / name)["images"].tolist() == PATHS
    with pytest.raises(ICKDError, match="of level image, not of --level=pixel"):
        export(folder, tmp_path / "three.npz", "--level", "pixel")


def test_parquet(folder: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    assert export(folder, tmp_path / "rows.parquet") == 0
    read = parquet.read_table(tmp_path / "rows.parquet").to_pydict()
    assert read["images"] == [*PATHS[:2], "caf\\udce9.png"]
    export(folder, tmp_path / "rows.npz")
    other = np.load(tmp_path / "rows.npz")
    for name in ("ids", "labels", "features", "logits"):
        assert np.array_equal(np.array(read[name], other[name].dtype), other[name])


def test_parquet_needs_an_extra(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ICKDError, match=r"mmickd\[export\]"):
        export(folder, tmp_path / "rows.parquet")


def test_without_names(tmp_path: Path, capsys: Any) -> None:
    """An older bank has no names of images; another bank lacks the names of its rows."""
    cache = BankCache(tmp_path / "cache")
    for number, spoil in enumerate((lambda f: (f / NAMES).unlink(), lambda f: None)):
        folder = cache.save(make_bank(), {**CACHE_KEY, "images": str(number)})
        spoil(folder)
        out = tmp_path / f"{number}.npz"
        assert export(folder, out) == 1
        rows = np.load(out)
        assert set(rows["images"].tolist()) == {""}
        assert np.array_equal(rows["ids"], make_bank().ids)
        (warning,) = capsys.readouterr().err.splitlines()
        assert "the image of 20 rows is unknown" in warning
        assert ("`mmickd bank CONFIG`" in warning) == (number == 0)


SPOILT: dict[str, Any] = {
    "pruned": shutil.rmtree,
    "truncated": lambda folder: (folder / "bank.safetensors").write_bytes(b"x"),
    "no manifest": lambda folder: (folder / MANIFEST).unlink(),
    "other format": lambda folder: (folder / MANIFEST).write_text('{"format": 0, "fields": {}}'),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_bank_that_cannot_be_read(folder: Path, tmp_path: Path, how: str) -> None:
    SPOILT[how](folder)
    with pytest.raises(ICKDError, match="mmickd bank CONFIG"):
        export(folder.name, tmp_path / "rows.npz", "--cache-dir", str(folder.parent))
    assert not (tmp_path / "rows.npz").exists()


@pytest.mark.parametrize(
    ("out", "reason"),
    [
        ("rows.csv", "must end in"),
        ("rows", "must end in"),
        ("there.npz", "exists already"),
        ("there.npz/rows.npz", "cannot be written"),
    ],
)
def test_a_file_that_cannot_be_written(folder: Path, tmp_path: Path, out: str, reason: str) -> None:
    (tmp_path / "there.npz").write_text("")
    with pytest.raises(ICKDError, match=reason):
        export(folder, tmp_path / out)
    assert (tmp_path / "there.npz").read_text() == ""
