# BD-KD: the student and a peer of the same architecture, with balanced divergences.
_base_ = ['resnet8x4_cifar100.py', '../_base_/methods/bdkd.py']
