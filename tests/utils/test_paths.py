"""Home directories and environment variables in paths."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import ConfigDict

from mmickd.utils.paths import expand_path, expand_paths


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/a")
    monkeypatch.setenv("DATA", "/data")
    monkeypatch.setenv("BELOW_HOME", "~/below")
    monkeypatch.delenv("UNSET", raising=False)


@pytest.mark.parametrize(
    ("path", "expanded"),
    [
        ("~/x", "/home/a/x"),
        ("$DATA/x", "/data/x"),
        ("${DATA}s/x", "/datas/x"),
        ("$BELOW_HOME/x", "/home/a/below/x"),
        ("$UNSET/x", "$UNSET/x"),
        ("a/~/x", "a/~/x"),
        ("https://host/$DATA", "https://host/$DATA"),
        (Path("$DATA/x"), "/data/x"),
    ],
)
def test_path(path: str, expanded: str) -> None:
    assert expand_path(path) == expanded


def test_every_path_of_a_config_is_expanded_and_nothing_else() -> None:
    part = dict(data_root="$DATA", data_prefix=dict(img_path="~/i"), ann_file=["~/a", "b"])
    cfg = ConfigDict(
        work_dir="~/runs",
        load_from="$DATA/a.pth",
        note="~",
        train_dataloader=dict(dataset=dict(type="ConcatDataset", datasets=[part])),
        val_dataloader=[dict(dataset=dict(data_prefix="~/v", data_root=None))],
        model=dict(init_cfg=dict(type="Pretrained", checkpoint="~/b.pth")),
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", out_dir="~")),
        custom_hooks=[dict(bank=dict(cache_dir="$DATA/c"), teacher=dict(checkpoint="~/t.pth"))],
    )
    expand_paths(cfg)
    part = dict(data_root="/data", data_prefix=dict(img_path="/home/a/i"))
    assert cfg.to_dict() == dict(
        work_dir="/home/a/runs",
        load_from="/data/a.pth",
        note="~",
        train_dataloader=dict(
            dataset=dict(type="ConcatDataset", datasets=[dict(part, ann_file=["/home/a/a", "b"])])
        ),
        val_dataloader=[dict(dataset=dict(data_prefix="/home/a/v", data_root=None))],
        model=dict(init_cfg=dict(type="Pretrained", checkpoint="/home/a/b.pth")),
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", out_dir="~")),
        custom_hooks=[
            dict(bank=dict(cache_dir="/data/c"), teacher=dict(checkpoint="/home/a/t.pth"))
        ],
    )
