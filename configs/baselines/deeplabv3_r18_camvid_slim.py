# The student alone: the teacher's recipe with 18 layers and half of the channels.
_base_ = ['../teachers/deeplabv3_r50_camvid_slim.py']
model = dict(
    backbone=dict(depth=18, base_channels=8),
    decode_head=dict(in_channels=64, channels=32),
    auxiliary_head=dict(in_channels=32, channels=16))
