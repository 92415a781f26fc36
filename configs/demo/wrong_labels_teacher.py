# A wider and deeper network, trained on the same labels until it has memorised the label errors.
_base_ = ['wrong_labels_student.py']
model = dict(
    backbone=dict(
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2, ),
        stem_channels=24,
        base_channels=24),
    head=dict(in_channels=96))
param_scheduler = dict(T_max=80)
train_cfg = dict(max_epochs=80, val_interval=80)
default_hooks = dict(checkpoint=dict(interval=80))
