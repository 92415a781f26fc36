"""Download of teachers' weights by URL: once, verified, with a unique file name."""

from __future__ import annotations

import os
import re
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import torch
from mmengine.logging import print_log

from mmickd.teachers.checkpoint_file import fault_of_file
from mmickd.utils.atomic import atomic_write
from mmickd.utils.digest import digest, sha256_of
from mmickd.utils.distributed import raise_on_all_ranks
from mmickd.utils.errors import ICKDError
from mmickd.utils.locking import locked
from mmickd.utils.text import error_text, shorten

TIMEOUT_SECONDS = 60.0
"""Longest wait for data from a server."""
BLOCK_BYTES = 2**20


def is_url(path: str) -> bool:
    """True if ``path`` is a URL to download.

    Example:
        >>> is_url("https://host/r101.pth"), is_url("work_dirs/r101.pth")
        (True, False)
    """
    return path.lower().startswith(("http://", "https://"))


def check_url(url: str) -> None:
    """Check the syntax of a URL, without a connection.

    Raises:
        ICKDError: If it is no URL.
    """
    try:
        parts = urlsplit(url)
        is_valid = bool(parts.hostname) and parts.port != 0 and url.isprintable() and " " not in url
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ICKDError(f"teacher.checkpoint {url!r} is no URL that can be downloaded: correct it.")


def local_file(url: str) -> Path:
    """Return the path of a downloaded file, below torch.hub's folder.

    A file name with a hash is unique, and is the same as torch.hub's. Other file names can occur in
    many URLs, so a digest of the URL is added to them.

    Example:
        >>> local_file("https://host/resnet18-5c106cde.pth").name
        'resnet18-5c106cde.pth'
        >>> local_file("https://host/run7/epoch_100.pth").name
        'epoch_100-9d1e70f68359.pth'
    """
    name = os.path.basename(urlsplit(url).path)
    if not _hash_in(name):
        stem, suffix = os.path.splitext(re.sub(r"[^\w.-]", "_", name, flags=re.ASCII))
        name = f"{stem[:80]}-{digest(url)[:12]}{suffix[:20]}"
    return Path(torch.hub.get_dir()) / "checkpoints" / name


def fetch(url: str) -> Path:
    """Download a file if it does not exist yet, and return its path; all ranks call this together.

    Raises:
        ICKDError: On every rank, if a rank cannot download the file.
    """
    check_url(url)
    with raise_on_all_ranks():
        file = local_file(url)
        try:
            _download_once(url, file)
        except (OSError, ValueError, HTTPException) as error:
            raise ICKDError(
                f"teacher.checkpoint {shorten(url)} cannot be downloaded ({error_text(error)}). "
                f"Download it by hand to {file}, or set teacher.checkpoint to a local file."
            ) from error
    return file


def _download_once(url: str, file: Path) -> None:
    """Download a file unless it exists and is complete; only one process downloads it.

    Raises:
        OSError, ValueError, HTTPException: If the file cannot be downloaded.
    """
    if not _fault(file, file.name):
        return
    if file.parts[0].startswith("~"):
        raise OSError("there is no home directory: set TORCH_HOME to a folder")
    file.parent.mkdir(parents=True, exist_ok=True)
    with locked(file.with_name(f"{file.name}.lock"), f"the teacher's weights {file}"):
        fault = _fault(file, file.name)
        if not fault:
            return
        print_log(f"Downloading {url} to {file}, which {fault}", logger="current")
        with atomic_write(file) as temporary:
            _download(url, temporary)
            fault = _fault(temporary, file.name)
            if fault:
                raise OSError(f"the downloaded file {fault}")


def _download(url: str, file: Path) -> None:
    # Some servers refuse the default agent of Python.
    request = Request(url, headers={"User-Agent": "torch.hub"})
    with urlopen(request, timeout=TIMEOUT_SECONDS) as response, open(file, "wb") as out:
        length = response.headers.get("Content-Length")
        size = None if length is None else int(length)
        with torch.hub.tqdm(total=size, unit="B", unit_scale=True, unit_divisor=1024) as bar:
            while block := response.read(BLOCK_BYTES):
                out.write(block)
                bar.update(len(block))
        if size is not None and out.tell() != size:
            raise OSError(f"the connection ended after {out.tell()} of {size} bytes")


def _fault(file: Path, name: str) -> str:
    """Return why a file is not the complete file of this name; empty if no fault is found."""
    if not file.is_file():
        return "does not exist."
    expected = _hash_in(name)
    if expected:
        with open(file, "rb") as opened:
            sha256 = sha256_of(opened)
        if not sha256.startswith(expected):
            return f"has another SHA-256 ({sha256[:8]}...) than its name."
    return fault_of_file(file)


def _hash_in(name: str) -> str:
    """Return the first digits of a SHA-256 in a file name, as in torch.hub's and OpenMMLab's names.

    Decimal digits alone do not count: they may be a date.
    """
    match = re.search(r"-((?=\d*[a-f])[0-9a-f]{8})\.[\w.]+$", name)
    return match[1] if match else ""
