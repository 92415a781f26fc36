"""Teachers by URL: downloaded once, kept under a name of their own, and only when whole."""

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
    """That is served; what is downloaded goes to ``tmp_path / 'home'``."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    save(tmp_path / "served/teacher.pth", 1)
    return tmp_path / "served"


@pytest.fixture
def web(folder: Path) -> Iterator[Web]:
    with served(folder) as server:
        yield server


def kept(folder: Path) -> list[str]:
    """Names of what was downloaded, whole or not."""
    names = os.listdir(folder.parent / "home/hub/checkpoints")
    return [name for name in names if not name.endswith(".lock")]


def named_by_hash(path: Path, change: str = "") -> Path:
    """The file under a name that carries its hash, or another."""
    found = change or hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return path.rename(path.with_name(f"r101_20200605_113503-{found}.pth"))


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
    name = named_by_hash(folder / "teacher.pth").name
    file = fetch(f"{web.url}/{name}")
    assert file.name == name
    assert fetch(f"{web.url}/elsewhere/{name}") == file
    assert web.paths == [f"/{name}"]


def test_a_hash_that_is_another_is_refused(folder: Path, web: Web) -> None:
    name = named_by_hash(folder / "teacher.pth", "0123abcd").name
    with pytest.raises(ICKDError, match=rf"{web.url}/{name} .*another SHA-256.* by hand to .*home"):
        fetch(f"{web.url}/{name}")
    assert kept(folder) == []


def test_a_date_is_no_hash(folder: Path, web: Web) -> None:
    name = named_by_hash(folder / "teacher.pth", "20230101").name
    assert value_in(fetch(f"{web.url}/{name}")) == 1


def test_another_file_under_the_name_of_torch_hub_is_not_taken(folder: Path, web: Web) -> None:
    name = named_by_hash(folder / "teacher.pth").name
    save(folder.parent / "home/hub/checkpoints" / name, 2)
    assert value_in(fetch(f"{web.url}/{name}")) == 1
    save(folder.parent / "home/hub/checkpoints/teacher.pth", 2)
    save(folder / "teacher.pth", 3)
    assert value_in(fetch(f"{web.url}/teacher.pth")) == 3


def test_what_was_damaged_on_the_disk_is_downloaded_again(web: Web) -> None:
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
def test_what_is_no_checkpoint_does_not_stay(
    folder: Path, web: Web, name: str, data: bytes, match: str
) -> None:
    (folder / name).write_bytes(data)
    with pytest.raises(ICKDError, match=rf"{web.url}/{name} cannot be downloaded .*{match}"):
        fetch(f"{web.url}/{name}")
    assert kept(folder) == []


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "pickle"])
def test_a_cut_download_does_not_stay(folder: Path, web: Web, archive: bool) -> None:
    """The older format has nothing in it that tells."""
    state = {"weight": torch.ones(99)}
    torch.save(state, folder / "teacher.pth", _use_new_zipfile_serialization=archive)
    size = (folder / "teacher.pth").stat().st_size
    with pytest.raises(ICKDError, match=f"ended after {size - 9} of {size} bytes"):
        fetch(f"{web.url}/cut/teacher.pth")
    assert kept(folder) == []


def test_what_the_server_does_not_have(folder: Path, web: Web) -> None:
    with pytest.raises(ICKDError, match=r"missing\.pth cannot be downloaded .*404.* by hand to "):
        fetch(f"{web.url}/missing.pth")
    with pytest.raises(ICKDError, match="cannot be downloaded"):
        fetch("http://127.0.0.1:1/teacher.pth")
    assert kept(folder) == []


def test_names_that_no_file_can_have(folder: Path, web: Web) -> None:
    for path in (f"/{'n' * 300}.pth", "/", "/..", "/a%2f..%2fb.pth", "/ü:*.pth?" + "q" * 999):
        file = local_file(web.url + path)
        assert file.parent == folder.parent / "home/hub/checkpoints"
        assert len(file.name) < 200 and file.name.isascii() and file.name != ".."
    with pytest.raises(ICKDError, match="cannot be downloaded"):
        fetch(f"{web.url}/{'n' * 300}-0123abcd.pth")


def test_a_place_that_cannot_be_written(
    folder: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(folder / "teacher.pth"))
    with pytest.raises(ICKDError, match="cannot be downloaded"):
        fetch(f"{web.url}/teacher.pth")
    monkeypatch.delenv("TORCH_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "~nobody-of-this-name/cache")
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
def test_a_broken_url_is_refused_before_anything_is_asked(url: str) -> None:
    assert is_url(url)
    with pytest.raises(ICKDError, match="no URL that can be downloaded"):
        check_url(url)
    with pytest.raises(ICKDError, match=r"no URL that can be downloaded|must be a path or a URL"):
        TeacherWeights(url, False).check()


def test_what_is_a_url() -> None:
    assert is_url("HTTP://a/b.pth") and not is_url("C:/x.pth") and not is_url("/http/x.pth")
    check_url("https://user:secret@host:8443/x.pth?token=1")


def _fetch_on_a_rank(url: str) -> list[str]:
    answers = [str(fetch(f"{url}/teacher.pth"))]
    with pytest.raises(ICKDError) as caught:
        fetch(f"{url}/missing.pth")
    return [*answers, str(caught.value)]


def test_ranks_download_once_and_fail_together(web: Web) -> None:
    answers = on_ranks(2, _fetch_on_a_rank, web.url)
    assert answers[0][0] == answers[1][0] == str(local_file(f"{web.url}/teacher.pth"))
    assert web.paths.count("/teacher.pth") == 1
    assert all("404" in answer[1] for answer in answers)
