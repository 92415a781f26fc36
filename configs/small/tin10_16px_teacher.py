# The student's recipe with a network of four times the width, and more epochs.
_base_ = ['tin10_16px_student.py']
model = dict(
    backbone=dict(stem_channels=32, base_channels=32), head=dict(in_channels=128))
param_scheduler = dict(T_max=60)
train_cfg = dict(max_epochs=60, val_interval=15)
