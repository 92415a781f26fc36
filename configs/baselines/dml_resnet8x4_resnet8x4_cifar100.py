# Deep mutual learning: the student beside a twin.
_base_ = ['resnet8x4_cifar100.py', '../_base_/methods/dml.py']
