# The student's recipe with a network of twice the width, and more epochs.
_base_ = ['cifar100_16px_student.py']
model = dict(
    backbone=dict(stem_channels=32, base_channels=32), head=dict(in_channels=128))
param_scheduler = dict(T_max=20)
train_cfg = dict(max_epochs=20, val_interval=5)
