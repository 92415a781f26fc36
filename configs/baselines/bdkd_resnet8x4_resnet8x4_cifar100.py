# BD-KD: the student beside a twin, with balanced divergences.
_base_ = ['resnet8x4_cifar100.py', '../_base_/methods/bdkd.py']
