"""The Python blocks of docs/deploy.md export distilled students that predict what they predict."""

from __future__ import annotations

import ast
import json
import re
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from mmickd.commands.publish import publish
from tests.helpers import toys
from tests.helpers.commands import ROOT, blocked_mmickd, command, config_folder
from tests.helpers.tiny import run

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
MISSING = [name for name in PACKAGES if find_spec(name) is None]
pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs/deploy.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SIZES = {"mmpretrain": (16, 16), "mmseg": (48, 64)}
"""Height and width of the toys' pictures."""


def blocks_of(scope: str) -> Iterator[str]:
    """Yield the blocks of the page for this scope, in their order."""
    other = next(name for name in toys.SCOPES if name != scope)
    height, width = SIZES[scope]
    for block in BLOCKS:
        if f"from {other}.apis" not in block:
            yield block.replace("height, width = 16, 16", f"height, width = {height}, {width}")


# Written after the blocks of the page, in the same process.
EVIDENCE = """
import json, sys
session = onnxruntime.InferenceSession("student.onnx")
program_logits = torch.export.load("student.pt2").module()(torch.from_numpy(images))
if logits.ndim == 2:
    predicted = [inferencer(str(path))[0]["pred_label"] for path in paths]
else:
    results = [inference_model(model, str(path)) for path in paths]
    predicted = [result.pred_sem_seg.data[0].tolist() for result in results]
print("EVIDENCE", json.dumps(dict(
    pictures=len(paths),
    difference=difference,
    largest=float(np.abs(expected).max()),
    program=float((program_logits.detach() - torch.from_numpy(expected)).abs().max()),
    single=session.run(None, {"images": images[:1]})[0].shape[0],
    shape=logits.shape,
    same=predicted == logits.argmax(1).tolist(),
    mmickd="mmickd" in sys.modules,
)))
"""


@pytest.fixture(scope="module", params=toys.SCOPES)
def folder(request: pytest.FixtureRequest) -> Path:
    """Folder with a distilled student, its config and eight pictures."""
    toy = toys.toy(request.param)
    runner = run(toy.distilled())
    checkpoint = (Path(runner.work_dir) / "last_checkpoint").read_text()
    student, distilled = toy.student(), toy.distilled()
    for cfg in (student, distilled):
        cfg.test_pipeline = cfg.test_dataloader.dataset.pipeline
    folder = config_folder(toy, student=student, distilled=distilled)
    publish([checkpoint, str(folder / "student.pth")])
    (folder / "scope").write_text(request.param)
    (folder / "pictures").mkdir()
    data = toy.data if request.param == "mmpretrain" else toy.data / "img_dir"
    for number, path in enumerate(sorted(data.rglob("*.png"))[:8]):
        shutil.copy(path, folder / f"pictures/{number}.png")
    return folder


@pytest.mark.skipif(bool(MISSING), reason=f"needs pip install {' '.join(MISSING)}")
def test_the_page_exports_a_distilled_student(folder: Path) -> None:
    scope = (folder / "scope").read_text()
    (folder / "page.py").write_text("\n".join([*blocks_of(scope), EVIDENCE]))
    env = blocked_mmickd(folder / "blocked")
    text = command(sys.executable, "page.py", cwd=folder, **env).ok()
    evidence = json.loads(re.findall(r"EVIDENCE (.*)", text)[-1])
    print(f"{scope}: {evidence}")
    bound = 1e-5 * max(1.0, evidence["largest"])
    assert evidence["pictures"] == 8
    assert evidence["difference"] <= bound, evidence
    assert evidence["program"] <= bound, evidence
    classes = 3
    size = [] if scope == "mmpretrain" else list(SIZES[scope])
    assert evidence["shape"] == [8, classes, *size]
    assert evidence["single"] == 1
    assert evidence["same"] and not evidence["mmickd"]


def test_the_apis_read_the_config_with_the_hook(folder: Path) -> None:
    scope = (folder / "scope").read_text()
    (block,) = (block for block in BLOCKS if f"from {scope}.apis" in block)
    (folder / "apis.py").write_text(block.replace("student.py", "distilled.py"))
    command(sys.executable, "apis.py", cwd=folder, **blocked_mmickd(folder / "blocked")).ok()


def test_every_block_of_the_page_is_python() -> None:
    assert len(BLOCKS) == 4
    nodes: list[Any] = [ast.parse(block) for block in BLOCKS]
    assert all(node.body for node in nodes)
