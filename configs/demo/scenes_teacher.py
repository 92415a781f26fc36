# The student's recipe with almost twice the channels, at half the learning rate.
_base_ = ['scenes_student.py']
model = dict(
    backbone=dict(stem_channels=20, base_channels=20),
    decode_head=dict(in_channels=80, channels=80))
optim_wrapper = dict(optimizer=dict(lr=0.005))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, begin=0, end=50, by_epoch=False),
    dict(
        type='CosineAnnealingLR',
        T_max=450,
        eta_min=1e-5,
        begin=50,
        end=500,
        by_epoch=False)
]
train_cfg = dict(max_iters=500, val_interval=500)
default_hooks = dict(checkpoint=dict(interval=500))
