# The student alone: task loss only.
_base_ = [
    '../_base_/models/deeplabv3_r50-d8_slim.py',
    '../_base_/datasets/camvid_slim.py',
    '../_base_/schedules/camvid_slim_1k.py',
    '../_base_/mmseg_runtime.py',
]
model = dict(
    backbone=dict(depth=18, base_channels=8),
    decode_head=dict(in_channels=64, channels=32),
    auxiliary_head=dict(in_channels=32, channels=16))
