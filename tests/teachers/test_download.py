"""Weights by URL: downloaded once, under a unique name, and stored only if complete."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mmickd.teachers.checkpoint import TeacherWeights, load_checkpoint
from mmickd.teachers.download import check_url, fetch, is_url, local_file
from mmickd.utils.errors import ICKDError
from tests.helpers.ranks import on_ranks
from tests.helpers.web import Web, served


def save(path: Path, value: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": {"weight": torch.full((2,), float(value))}}, path)
    return path


def value_in(file: Path) -> float:
    return float(load_checkpoint(str(file))["state_dict"]["weight"][0])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that a server serves; downloads go to ``tmp_path / 'home'``."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    save(tmp_path / "served/teacher.pth", 1)
    return tmp_path / "served"


@pytest.fixture
def web(folder: Path) -> Iterator[Web]:
    with served(folder) as server:
        yield server


def downloads(folder: Path) -> list[str]:
    """Return the names of all downloaded files, complete or not."""
    names = os.listdir(folder.parent / "home/hub/checkpoints")
    return [name for name in names if not name.endswith(".lock")]


def rename_by_hash(path: Path, digest: str = "") -> Path:
    """Rename a file to a name with its hash, or with another text in its place."""
    digest = digest or hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return path.rename(path.with_name(f"r101_20200605_113503-{digest}.pth"))


def test_a_url_is_downloaded_once(web: Web) -> None:
    file = fetch(f"{web.url}/teacher.pth")
    assert value_in(file) == 1
    assert fetch(f"{web.url}/teacher.pth") == file
    assert web.paths == ["/teacher.pth"]


def test_two_urls_with_one_file_name_are_two_teachers(folder: Path, web: Web) -> None:
    urls = []
    for value, run in enumerate(("runA", "runB")):
        save(folder / run / "epoch_100.pth", value)
        urls.append(f"{web.url}/{run}/epoch_100.pth")
    urls.append(f"{urls[1]}?version=2")
    files = [fetch(url) for url in urls]
    assert len(set(files)) == 3 and all(file.name.startswith("epoch_100-") for file in files)
    assert [value_in(file) for file in files] == [0, 1, 1]


def test_a_name_with_the_right_hash_is_shared_with_torch_hub(folder: Path, web: Web) -> None:
    name = rename_by_hash(folder / "teacher.pth").name
    file = fetch(f"{web.url}/{name}")
    assert file.name == name
    assert fetch(f"{web.url}/elsewhere/{name}") == file
    assert web.paths == [f"/{name}"]


def test_a_file_with_another_hash_is_refused(folder: Path, web: Web) -> None:
    name = rename_by_hash(folder / "teacher.pth", "0123abcd").name
    with pytest.raises(ICKDError, match=rf"{web.url}/{name} .*SHA-256.* to .*home"):
        fetch(f"{web.url}/{name}")
    assert downloads(folder) == []


def test_a_date_is_no_hash(folder: Path, web: Web) -> None:
    name = rename_by_hash(folder / "teacher.pth", "20230101").name
    assert value_in(fetch(f"{web.url}/{name}")) == 1


def test_another_file_of_the_same_name_in_torch_hubs_folder_is_not_used(
    folder: Path, web: Web
) -> None:
    name = rename_by_hash(folder / "teacher.pth").name
    save(folder.parent / "home/hub/checkpoints" / name, 2)
    assert value_in(fetch(f"{web.url}/{name}")) == 1
    save(folder.parent / "home/hub/checkpoints/teacher.pth", 2)
    save(folder / "teacher.pth", 3)
    assert value_in(fetch(f"{web.url}/teacher.pth")) == 3


def test_a_damaged_file_is_downloaded_again(web: Web) -> None:
    file = fetch(f"{web.url}/teacher.pth")
    data = bytearray(file.read_bytes())
    data[data.index(torch.ones(2).numpy().tobytes())] ^= 1
    file.write_bytes(data)
    assert value_in(fetch(f"{web.url}/teacher.pth")) == 1
    assert len(web.paths) == 2


@pytest.mark.parametrize(
    ("name", "data", "match"),
    [
        ("page.pth", b"\n<!DOCTYPE html><html>log in</html>", "web page"),
        ("pointer.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git-LFS"),
        ("empty.pth", b"", "is empty"),
    ],
)
def test_a_download_that_is_no_checkpoint_is_deleted(
    folder: Path, web: Web, name: str, data: bytes, match: str
) -> None:
    (folder / name).write_bytes(data)
    with pytest.raises(ICKDError, match=rf"{web.url}/{name} cannot be downloaded .*{match}"):
        fetch(f"{web.url}/{name}")
    assert downloads(folder) == []


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "pickle"])
def test_a_truncated_download_is_deleted(folder: Path, web: Web, archive: bool) -> None:
    """The size is compared, as the older format has no checksum."""
    state = {"weight": torch.ones(99)}
    torch.save(state, folder / "teacher.pth", _use_new_zipfile_serialization=archive)
    size = (folder / "teacher.pth").stat().st_size
    with pytest.raises(ICKDError, match=f"{size - 9} of {size} bytes"):
        fetch(f"{web.url}/cut/teacher.pth")
    assert downloads(folder) == []


def test_a_missing_file_and_a_missing_server(folder: Path, web: Web) -> None:
    with pytest.raises(ICKDError, match=r"missing\.pth cannot be downloaded .*404"):
        fetch(f"{web.url}/missing.pth")
    with pytest.raises(ICKDError, match="cannot be downloaded"):
        fetch("http://127.0.0.1:1/teacher.pth")
    assert downloads(folder) == []


def test_urls_whose_names_no_file_can_have(folder: Path, web: Web) -> None:
    for path in (f"/{'n' * 300}.pth", "/", "/..", "/a%2f..%2fb.pth", "/ü:*.pth?" + "q" * 999):
        file = local_file(web.url + path)
        assert file.parent == folder.parent / "home/hub/checkpoints"
        assert len(file.name) < 200 and file.name.isascii() and file.name != ".."
    with pytest.raises(ICKDError, match="cannot be downloaded"):
        fetch(f"{web.url}/{'n' * 300}-0123abcd.pth")


def test_a_folder_that_cannot_be_written(
    folder: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(folder / "teacher.pth"))
    with pytest.raises(ICKDError, match="cannot be downloaded"):
        fetch(f"{web.url}/teacher.pth")
    monkeypatch.delenv("TORCH_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "~no-such-user/cache")
    with pytest.raises(ICKDError, match=r"no home directory.*TORCH_HOME"):
        fetch(f"{web.url}/teacher.pth")


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "https:///x.pth",
        "http://[::1/x.pth",
        "http://h:99999/x",
        "http://h/a\nb",
        "http://h/a b",
    ],
)
def test_an_invalid_url_is_refused_without_a_connection(url: str) -> None:
    assert is_url(url)
    with pytest.raises(ICKDError, match="no URL"):
        check_url(url)
    with pytest.raises(ICKDError, match=r"no URL|path or a URL"):
        TeacherWeights(url, False).check()


def test_urls_and_paths() -> None:
    assert is_url("HTTP://a/b.pth") and not is_url("C:/x.pth") and not is_url("/http/x.pth")
    check_url("https://user:secret@host:8443/x.pth?token=1")


def _fetch_on_a_rank(url: str) -> list[str]:
    path = str(fetch(f"{url}/teacher.pth"))
    with pytest.raises(ICKDError) as caught:
        fetch(f"{url}/missing.pth")
    return [path, str(caught.value)]


def test_ranks_download_once_and_fail_together(web: Web) -> None:
    paths, messages = zip(*on_ranks(2, _fetch_on_a_rank, web.url), strict=True)
    assert paths[0] == paths[1] == str(local_file(f"{web.url}/teacher.pth"))
    assert web.paths.count("/teacher.pth") == 1
    assert all("404" in message for message in messages)
