# BD-KD: the student beside a twin, with balanced divergences.
_base_ = ['resnet8x4_tin100.py', '../_base_/methods/bdkd.py']
