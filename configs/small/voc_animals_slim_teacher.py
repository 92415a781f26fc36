# The student's recipe with three times the channels and 2,000 iterations.
_base_ = ['voc_animals_slim_student.py']
model = dict(
    backbone=dict(stem_channels=24, base_channels=24),
    decode_head=dict(in_channels=192, channels=64),
    auxiliary_head=dict(in_channels=96, channels=32))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=50, by_epoch=False),
    dict(type='PolyLR', eta_min=1e-5, power=0.9, begin=50, end=2000, by_epoch=False)
]
train_cfg = dict(max_iters=2000, val_interval=2000)
