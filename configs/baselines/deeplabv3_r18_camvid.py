# The student alone: the teacher's recipe with 18 layers and a quarter of the head's channels.
_base_ = ['../teachers/deeplabv3_r50_camvid.py']
model = dict(
    pretrained='open-mmlab://resnet18_v1c',
    backbone=dict(depth=18),
    decode_head=dict(in_channels=512, channels=128),
    auxiliary_head=dict(in_channels=256, channels=64))
