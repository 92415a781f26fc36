# The student alone: mmsegmentation's model and recipe, 4 GPUs with 2 images each.
_base_ = ['../teachers/pspnet_r101_cityscapes.py']
model = dict(
    pretrained='open-mmlab://resnet18_v1c',
    backbone=dict(depth=18),
    decode_head=dict(in_channels=512, channels=128),
    auxiliary_head=dict(in_channels=256, channels=64))
