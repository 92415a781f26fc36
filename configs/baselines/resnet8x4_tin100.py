# The student alone, with the task loss only.
_base_ = [
    '../_base_/models/cifar_resnet.py', '../_base_/datasets/tin100.py',
    '../_base_/schedules/cifar_240e.py', '../_base_/mmpretrain_runtime.py'
]
