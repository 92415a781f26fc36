# PS-KD: the student of the last epoch teaches the student.
_base_ = ['resnet8x4_cifar100.py', '../_base_/methods/pskd.py']
