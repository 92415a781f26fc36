"""Two ranks with batches of 2 make the step of one rank with a batch of 4, term by term."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from torch import Tensor

from tests.helpers import toys
from tests.helpers.ranks import on_ranks, read_rank_config
from tests.helpers.tiny import dump, make_class_folders, make_scenes, run

TERMS: dict[str, dict[str, Any] | None] = dict(
    none=None,
    kd=dict(kd=dict(loss_weight=5.0), picd=None, nicd=None),
    picd=dict(kd=None, picd=dict(loss_weight=5.0), nicd=None),
    nicd=dict(kd=None, picd=None, nicd=dict(loss_weight=5.0)),
    columns=dict(kd=dict(type="DISTLoss", loss_weight=5.0), picd=None, nicd=None),
    columns_of_queries=dict(
        kd=dict(type="DISTLoss", loss_weight=5.0, dense=False), picd=None, nicd=None
    ),
    control=dict(kd=None, picd=None, nicd=dict(loss_weight=5.0, num_negatives=0)),
)


def uneven_images() -> Path:
    """Return a data set: of its first four images one is alone in its class, two share a class."""
    data = make_class_folders(toys.new_folder())
    for name in ("0/1", "0/2", "0/3", "0/4", "0/5", "1/2", "1/3", "1/4", "1/5"):
        (data / "train" / f"c{name}.png").unlink()
    return data


def scenes_with_void(void: tuple[int, ...]) -> Path:
    """Return scenes, some of which are void; with (1, 3) rank 1 has no anchor."""
    data = make_scenes(toys.new_folder())
    for index, path in enumerate(sorted((data / "ann_dir" / "train").iterdir())):
        if index in void:
            label = np.asarray(Image.open(path))
            Image.fromarray(np.full_like(label, 255)).save(path)
    return data


def config(scope: str, level: str, data: Path, losses: Any, batch_size: int) -> Config:
    """Return one step of SGD with rate 1 on the first four samples, for a student without BN."""
    toy = toys.toy(scope)
    cfg = toy.student(train_cfg__max_iters=1)
    cfg.param_scheduler = []
    cfg.optim_wrapper.optimizer = dict(type="SGD", lr=1.0)
    norm = dict(type="GN", num_groups=2, requires_grad=True)
    cfg.model.backbone.norm_cfg = norm
    loader = cfg.train_dataloader
    loader.update(batch_size=batch_size, sampler=dict(type="DefaultSampler", shuffle=False))
    loader.dataset.data_root = str(data)
    loader.dataset.pipeline = [t for t in loader.dataset.pipeline if "Random" not in t.type]
    if scope == "mmseg":
        cfg.model.decode_head.update(norm_cfg=norm, dropout_ratio=0)
        cfg.model.data_preprocessor.size = (48, 64)
    if losses is None:
        return cfg
    return toy.distilled(cfg, level=level, losses=losses, bank=dict(batch_size=4))


def parameters_after_step(cfg: Config) -> dict[str, Tensor]:
    """Return the parameters after the step."""
    runner = run(cfg)
    model = getattr(runner.model, "module", runner.model)
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def steps_on_rank(paths: list[Path]) -> list[dict[str, Tensor]]:
    return [parameters_after_step(read_rank_config(path)) for path in paths]


def check(scope: str, level: str, data: Path) -> None:
    folder = toys.new_folder()
    paths = [
        dump(config(scope, level, data, losses, batch_size=2), folder / f"{term}.py")
        for term, losses in TERMS.items()
    ]
    by_rank = on_ranks(2, steps_on_rank, paths)
    plain: dict[str, Tensor] = {}
    for number, (term, losses) in enumerate(TERMS.items()):
        assert toys.same_state(by_rank[0][number], by_rank[1][number]), term
        alone = parameters_after_step(config(scope, level, data, losses, batch_size=4))
        together = by_rank[0][number]
        plain = plain or alone
        # what the distillation term adds to the step of the task loss
        largest = max(float((alone[n] - plain[n]).abs().max()) for n in alone)
        assert (largest > 1e-3) is (losses is not None), term
        for name in alone:
            assert torch.allclose(alone[name], together[name], atol=max(1e-5, 2e-4 * largest)), (
                term, name, float((alone[name] - together[name]).abs().max()), largest,
            )  # fmt: skip


def test_image_level() -> None:
    check("mmpretrain", "image", uneven_images())


@pytest.mark.parametrize("void", [(1, 3), (3,)], ids=["a rank without anchors", "fewer anchors"])
def test_pixel_level(void: tuple[int, ...]) -> None:
    check("mmseg", "pixel", scenes_with_void(void))


def test_region_level() -> None:
    check("mmseg", "region", scenes_with_void((3,)))
