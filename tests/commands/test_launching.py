"""Distributed runs without an accelerator."""

from __future__ import annotations

import socket

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper

from mmickd.commands import launching as launch
from mmickd.utils.errors import ICKDError


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(launch, "get_device", lambda: "cpu")


def test_sync_bn_is_reverted_everywhere():
    model = dict(
        backbone=dict(norm_cfg=dict(type="SyncBN", requires_grad=True)),
        neck=dict(norm_cfg=dict(type=torch.nn.SyncBatchNorm)),  # as in mmengine's Python configs
        heads=[dict(norm_cfg=dict(type="SyncBN")), dict(norm_cfg=dict(type="GN"))],
    )
    assert launch.revert_sync_bn(model)
    assert model["backbone"]["norm_cfg"] == dict(type="BN", requires_grad=True)
    assert model["neck"]["norm_cfg"] == dict(type="BN")
    assert [head["norm_cfg"]["type"] for head in model["heads"]] == ["BN", "GN"]
    assert not launch.revert_sync_bn(model)


def test_wrapper_has_no_devices_and_keeps_the_rest():
    cfg = Config(dict(find_unused_parameters=True))
    launch.use_cpu_wrapper(cfg)
    assert cfg.model_wrapper_cfg.device_ids is None
    assert cfg.model_wrapper_cfg.find_unused_parameters is True
    assert cfg.model_wrapper_cfg.type == "MMDistributedDataParallel"

    wrapper = dict(type="MMSeparateDistributedDataParallel", static_graph=True, device_ids=[0])
    cfg = Config(dict(model_wrapper_cfg=wrapper))
    launch.use_cpu_wrapper(cfg)
    assert cfg.model_wrapper_cfg.type == "MMSeparateDistributedDataParallel"
    assert cfg.model_wrapper_cfg.static_graph is True
    assert cfg.model_wrapper_cfg.device_ids is None


@pytest.mark.parametrize("strategy", [{}, dict(strategy=dict(type="mmengine.DDPStrategy"))])
def test_flexible_runner_has_its_wrapper_in_the_strategy(strategy):
    cfg = Config(dict(runner_type="mmengine.FlexibleRunner", **strategy))
    launch.use_cpu_wrapper(cfg)
    assert cfg.strategy.type.endswith("DDPStrategy")
    assert cfg.strategy.model_wrapper.device_ids is None
    assert "model_wrapper_cfg" not in cfg


def test_fsdp_keeps_its_wrapper():
    wrapper = dict(use_orig_params=False, device_id=0)
    strategy = dict(type="FSDPStrategy", model_wrapper=wrapper)
    cfg = Config(dict(runner_type="FlexibleRunner", strategy=strategy))
    launch.use_cpu_wrapper(cfg)
    expected = dict(type="MMFullyShardedDataParallel", use_orig_params=False, device_id="cpu")
    assert cfg.strategy.model_wrapper == expected


@pytest.mark.parametrize("kind", ["SingleDeviceStrategy", "DeepSpeedStrategy"])
def test_other_strategies_are_refused(kind):
    cfg = Config(dict(runner_type="FlexibleRunner", strategy=dict(type=kind)))
    with pytest.raises(ICKDError, match=f"'{kind}' cannot train with several processes on the CPU"):
        launch.use_cpu_wrapper(cfg)


def test_the_default_runner_may_be_named():
    cfg = Config(dict(runner_type="Runner"))
    launch.use_cpu_wrapper(cfg)
    assert cfg.model_wrapper_cfg.device_ids is None


def test_a_single_process_is_not_changed(no_gpu):
    cfg = Config(dict(launcher="none", model=dict(norm_cfg=dict(type="SyncBN"))))
    before = cfg.to_dict()
    launch.prepare_launch(cfg)
    assert cfg.to_dict() == before


def test_a_launcher_without_its_variables_is_explained(no_gpu, monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ICKDError, match=r"needs RANK, WORLD_SIZE, MASTER_ADDR.*dist_train\.sh"):
        launch.prepare_launch(Config(dict(launcher="pytorch")))


def test_the_timeout_of_the_config_also_holds_without_a_gpu(no_gpu, monkeypatch):
    """The second of two ranks never starts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = dict(RANK="0", WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    cfg = Config(dict(launcher="pytorch", env_cfg=dict(dist_cfg=dict(backend="nccl", timeout=2))))
    with pytest.raises(torch.distributed.DistError, match=r"imed out"):
        launch.prepare_launch(cfg)


@pytest.mark.parametrize("kind", ["AmpOptimWrapper", "mmengine.AmpOptimWrapper", AmpOptimWrapper])
def test_mixed_precision_needs_a_gpu(no_gpu, monkeypatch, kind):
    amp = Config(dict(optim_wrapper=dict(type=kind)))
    with pytest.raises(ICKDError, match="needs a GPU"):
        launch.check_amp(amp)
    launch.check_amp(Config(dict(optim_wrapper=dict(type="OptimWrapper"))))
    monkeypatch.setattr(launch, "get_device", lambda: "cuda")
    launch.check_amp(amp)
