"""Teachers that are given by URL: downloaded once, checked, and kept under a name of their own."""

from __future__ import annotations

import os
import re
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import torch
from mmengine.logging import print_log

from mmickd.teachers.formats import fault_of_file
from mmickd.utils.atomic import atomic_write
from mmickd.utils.digest import digest, sha256_of
from mmickd.utils.distributed import raise_on_all_ranks
from mmickd.utils.errors import ICKDError
from mmickd.utils.locking import locked
from mmickd.utils.text import error_text, shorten

TIMEOUT_SECONDS = 60.0
"""How long a server may say nothing."""
BLOCK_BYTES = 2**20


def is_url(path: str) -> bool:
    """Whether ``path`` is to be downloaded.

    Example:
        >>> is_url("https://host/r101.pth"), is_url("work_dirs/r101.pth")
        (True, False)
    """
    return path.lower().startswith(("http://", "https://"))


def check_url(url: str) -> None:
    """Look whether a URL can be one, without asking its server.

    Raises:
        ICKDError: if it is broken.
    """
    try:
        parts = urlsplit(url)
        broken = not parts.hostname or parts.port == 0 or not url.isprintable() or " " in url
    except ValueError:
        broken = True
    if broken:
        raise ICKDError(f"teacher.checkpoint {url!r} is no URL that can be downloaded: correct it.")


def local_file(url: str) -> Path:
    """Where a download is kept, below torch.hub's folder.

    A name with a hash tells one file from all others, and is shared with torch.hub. Any other name
    may stand in many URLs, so that the URL is part of it here.

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
    """Download a file, if it is not there; all ranks call this together.

    Raises:
        ICKDError: on every rank, if one cannot get it.
    """
    check_url(url)
    with raise_on_all_ranks():
        file = local_file(url)
        try:
            _obtain(url, file)
        except (OSError, ValueError, HTTPException) as error:
            raise ICKDError(
                f"teacher.checkpoint {shorten(url)} cannot be downloaded ({error_text(error)}). "
                f"Download it by hand to {file}, or set teacher.checkpoint to a local file."
            ) from error
    return file


def _obtain(url: str, file: Path) -> None:
    """Make sure that the whole file lies there; of the processes that miss it, one downloads.

    Raises:
        OSError, ValueError, HTTPException: if it cannot be had.
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
                raise OSError(f"what came {fault}")


def _download(url: str, file: Path) -> None:
    # Some servers refuse Python's own agent.
    request = Request(url, headers={"User-Agent": "torch.hub"})
    with urlopen(request, timeout=TIMEOUT_SECONDS) as answer, open(file, "wb") as out:
        length = answer.headers.get("Content-Length")
        size = None if length is None else int(length)
        with torch.hub.tqdm(total=size, unit="B", unit_scale=True, unit_divisor=1024) as bar:
            while block := answer.read(BLOCK_BYTES):
                out.write(block)
                bar.update(len(block))
        if size is not None and out.tell() != size:
            raise OSError(f"the connection ended after {out.tell()} of {size} bytes")


def _fault(file: Path, name: str) -> str:
    """Why a file is not the whole one of this name; empty if nothing speaks against it."""
    if not file.is_file():
        return "is not there."
    expected = _hash_in(name)
    if expected:
        with open(file, "rb") as opened:
            found = sha256_of(opened)
        if not found.startswith(expected):
            return f"has another SHA-256 ({found[:8]}...) than its name says."
    return fault_of_file(file)


def _hash_in(name: str) -> str:
    """The beginning of the SHA-256 that a name carries, as torch.hub's and OpenMMLab's zoos do.

    Digits alone are none: they may be a date.
    """
    found = re.search(r"-((?=\d*[a-f])[0-9a-f]{8})\.[\w.]+$", name)
    return found[1] if found else ""
