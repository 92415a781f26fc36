"""Checkpoints that are URLs, from a server on this machine."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from mmickd.teachers.checkpoint import fetch, load_checkpoint
from mmickd.utils.errors import ICKDError


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of a folder that holds teacher.pth."""
    folder = tmp_path / "served"
    folder.mkdir()
    torch.save({"state_dict": {"weight": torch.ones(2)}}, folder / "teacher.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = functools.partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def test_a_url_is_downloaded_once(server: str) -> None:
    file = fetch(f"{server}/teacher.pth")
    assert torch.equal(load_checkpoint(file)["state_dict"]["weight"], torch.ones(2))
    written = Path(file).stat().st_mtime_ns
    assert fetch(f"{server}/teacher.pth") == file
    assert Path(file).stat().st_mtime_ns == written


def test_what_cannot_be_downloaded_says_what_to_do(server: str) -> None:
    with pytest.raises(ICKDError, match=r"missing\.pth cannot be downloaded .*404.* by hand"):
        fetch(f"{server}/missing.pth")


def test_a_file_is_itself(tmp_path: Path) -> None:
    assert fetch(str(tmp_path / "x.pth")) == str(tmp_path / "x.pth")
