# The student's recipe with 32 layers.
_base_ = ['../baselines/resnet8x4_cifar100.py']
model = dict(backbone=dict(depth=32))
