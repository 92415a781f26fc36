"""README.md: its length, its config, its links, its commands and its figures."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import mmseg
import pytest
from mmengine.config import Config
from mmengine.registry import HOOKS

from mmickd.__main__ import COMMANDS
from mmickd.hooks import ICKDHook

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
STOCK = Path(mmseg.__file__).parent / ".mim" / "configs" / "deeplabv3"
(DIFF,) = re.findall(r"```diff\n(.*?)```", README, re.DOTALL)
KEPT = "".join(line[1:] + "\n" for line in DIFF.splitlines() if line[0] == " ")
CHANGED = "".join(line[1:] + "\n" for line in DIFF.splitlines())
FIGURE = re.compile(r"(\d+\.\d+ ± \d+\.\d+)")
SECTIONS = (
    "Results", "Install", "First look", "Commands", "What is refused", "Documentation",
    "Citation and licence",
)  # fmt: skip


def test_it_is_short_and_in_order() -> None:
    lines = README.splitlines()
    assert len(lines) <= 130
    assert [line for line in lines if len(line) > 120] == []
    assert re.findall(r"^## (.*)$", README, re.MULTILINE) == list(SECTIONS)


def test_the_diff_is_of_a_stock_config() -> None:
    comment, _, config = KEPT.partition("\n")
    (name,) = re.findall(r"[\w-]+\.py", comment)
    assert config == (STOCK / name).read_text()


@pytest.mark.parametrize("has_losses", [True, False], ids=["NICD alone", "the paper's method"])
def test_the_changed_config_builds_the_hook(has_losses: bool, tmp_path: Path) -> None:
    path = tmp_path / "run.py"
    path.write_text(CHANGED.replace("./deeplabv3", f"{STOCK}/deeplabv3"))
    (entry,) = Config.fromfile(path).custom_hooks
    teacher = entry.teacher.cfg.removeprefix("mmseg::deeplabv3/")
    assert (STOCK / teacher).is_file()
    if has_losses:
        assert entry.losses.kd is entry.losses.picd is None
        recipe = ROOT / "configs" / "_base_" / "methods" / "nicd_pixels.py"
        assert entry.losses.nicd == Config.fromfile(recipe).custom_hooks[0].losses.nicd
    else:
        entry.pop("losses")
    assert isinstance(HOOKS.build(entry), ICKDHook)


def test_every_link_has_its_file() -> None:
    links = re.findall(r"\]\(([^)#]+)\)|(?:src|srcset)=\"([^\"]+)\"", README)
    files = {link or source for link, source in links if not link.startswith("http")}
    assert {file for file in files if not (ROOT / file).is_file()} == set()


def test_every_command_is_listed() -> None:
    assert set(re.findall(r"`mmickd ([\w-]+)`", README)) == set(COMMANDS)


def test_every_figure_is_in_the_results() -> None:
    """A figure with one digit after the point may be a rounded one."""
    pages = [*ROOT.glob("results/*.md"), *ROOT.glob("docs/results/**/*.md")]
    figures = {figure for page in pages for figure in FIGURE.findall(page.read_text())}
    figures |= {" ± ".join(map(rounded, figure.split(" ± "))) for figure in figures}
    assert set(FIGURE.findall(README)) - figures == set()


def rounded(number: str) -> str:
    return str(Decimal(number).quantize(Decimal("0.1"), ROUND_HALF_UP))
