# Deep mutual learning: the student and a peer of the same architecture.
_base_ = ['resnet8x4_tin100.py', '../_base_/methods/dml.py']
