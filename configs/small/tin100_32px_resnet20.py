# The literature's resnet20 instead of resnet8x4.
_base_ = ['tin100_32px_student.py']
model = dict(
    backbone=dict(depth=20, stem_channels=16, base_channels=16),
    head=dict(in_channels=64))
