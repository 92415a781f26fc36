# Deep mutual learning: the student and a peer of the same architecture.
_base_ = ['resnet8x4_cifar100.py', '../_base_/methods/dml.py']
