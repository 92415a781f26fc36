# Deep mutual learning: the student beside a twin.
_base_ = ['resnet8x4_tin100.py', '../_base_/methods/dml.py']
