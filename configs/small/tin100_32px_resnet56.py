# The same with 56 layers: its teacher.
_base_ = ['tin100_32px_resnet20.py']
model = dict(backbone=dict(depth=56))
