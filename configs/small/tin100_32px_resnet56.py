# The teacher of tin100_32px_resnet20.py: the same with 56 layers.
_base_ = ['tin100_32px_resnet20.py']
model = dict(backbone=dict(depth=56))
