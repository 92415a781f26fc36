"""Take screenshots of the gallery and of TensorBoard, from real runs.

``python docs/figures/screenshots.py GALLERY WORK_DIR`` writes docs/images/gallery.png and
docs/images/tensorboard.png. It needs ``chromium`` and ``pip install tensorboard``.

GALLERY is a page of ``make demo``: work_dirs/demo/first_look/scenes/index.html. WORK_DIR is the
folder of a run with TensorBoard's backend; its config is, for example::

    _base_ = "configs/demo/scenes_ickd.py"
    visualizer = dict(vis_backends=[dict(type="TensorboardVisBackend")])
"""

from __future__ import annotations

import argparse
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

from PIL import Image

IMAGES = Path(__file__).parents[1] / "images"
TAGS = (
    r"^(loss|decode\.loss_ce|loss_kd|loss_picd|loss_nicd|picd_sim|nicd_sim|nicd_weight|picd_valid)$"
)
"""Scalars that TensorBoard shows."""


def take_screenshot(address: str, file: Path, size: tuple[int, int], seconds: int) -> None:
    """Write what a browser shows at an address, as a PNG file with a palette.

    Args:
        address: Address of the page.
        file: File to write.
        size: Width and height of the window.
        seconds: Time for the page's scripts.
    """
    browser = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if browser is None:
        sys.exit("No chromium on PATH: apt-get install chromium.")
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.png"
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={folder}/profile",
            f"--window-size={size[0]},{size[1]}",
            f"--virtual-time-budget={1000 * seconds}",
            f"--screenshot={picture}",
        ]
        subprocess.run([browser, *options, address], check=True, capture_output=True, timeout=300)
        Image.open(picture).convert("RGB").quantize(128).save(file, optimize=True)
    print(f"wrote {file}, {file.stat().st_size / 1000:.0f} kB")


@contextmanager
def serve_tensorboard(folder: Path) -> Iterator[str]:
    """Run TensorBoard for a folder; the value is its address."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder)]
    process = subprocess.Popen([*command, "--port", str(port), "--load_fast", "false"])
    address = f"http://localhost:{port}"
    try:
        wait_for_scalars(f"{address}/data/plugin/scalars/tags")
        yield address
    finally:
        process.terminate()
        process.wait()


def wait_for_scalars(address: str, seconds: float = 120) -> None:
    """Wait until TensorBoard has read the scalars of the run."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with urlopen(address) as answer:
                if b"loss_nicd" in answer.read():
                    return
        except OSError:
            pass  # the server is not up yet
        time.sleep(1)
    sys.exit(f"{address} shows no loss_nicd after {seconds:.0f} s.")


def main(argv: Sequence[str] | None = None) -> None:
    """Take both screenshots."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("gallery", type=Path, help="index.html of a gallery")
    parser.add_argument("work_dir", type=Path, help="folder of a run with TensorBoard's backend")
    parser.add_argument("--view", default="sort=student", help="gallery's address after the #")
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder of the pictures")
    args = parser.parse_args(argv)
    page = f"{args.gallery.resolve().as_uri()}#{args.view}"
    take_screenshot(page, args.out / "gallery.png", (1280, 965), seconds=3)
    with serve_tensorboard(args.work_dir) as address:
        page = f"{address}/?darkMode=false#scalars&tagFilter={quote(TAGS)}&_smoothingWeight=0.6"
        size = (1420, 1010)
        file = args.out / "tensorboard.png"
        take_screenshot(page, file, size, seconds=60)


if __name__ == "__main__":
    main()
