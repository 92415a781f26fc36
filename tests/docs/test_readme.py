"""The Python blocks of README.md on configs that mmpretrain ships."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import mmpretrain
import pytest
from mmengine.config import Config
from mmengine.registry import HOOKS

from mmickd.hooks import ICKDHook

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
CONFIGS = [block for block in BLOCKS if "_base_" in block]
STOCK = Path(mmpretrain.__file__).parent / ".mim" / "configs"
BASES = {
    "convnext/convnext-tiny_32xb128_in1k.py": ["EMAHook"],
    "resnet/resnet18_8xb32_in1k.py": [],
}


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("block", CONFIGS, ids=["offline", "self"])
def test_a_config_adds_the_hook_and_keeps_the_hooks_of_its_base(
    block: str, base: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.py"
    path.write_text(block.replace("path/to/the/students_config.py", str(STOCK / base)))
    cfg = Config.fromfile(path)
    assert [hook.type for hook in cfg.custom_hooks] == [*BASES[base], "mmickd.ICKDHook"]
    assert isinstance(HOOKS.build(cfg.custom_hooks[-1]), ICKDHook)
    assert Config.fromstring(cfg.pretty_text, ".py").custom_hooks == cfg.custom_hooks


def test_the_full_entry_has_valid_options() -> None:
    (block,) = (block for block in BLOCKS if block not in CONFIGS)
    entry: dict[str, Any] = eval(block)
    entry["teacher"].update(cfg="teacher.py", checkpoint="teacher.pth")
    assert isinstance(HOOKS.build(entry), ICKDHook)
