"""Modules by name, wrapped or not."""

from torch import nn

from mmickd.utils.modules import get_module, name_without_wrappers


def test_names_without_wrappers_and_get_module():
    assert (
        name_without_wrappers("module.decode_head._fsdp_wrapped_module.conv_seg")
        == "decode_head.conv_seg"
    )
    assert name_without_wrappers("head.fc") == "head.fc"
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU()))
    assert get_module(net, "1.0") is net[1][0] and get_module(net, "1") is net[1]
    assert get_module(net, "2") is None and get_module(net, "") is None
