# PS-KD: the teacher is the student of the previous epoch.
_base_ = ['resnet8x4_cifar100.py', '../_base_/methods/pskd.py']
