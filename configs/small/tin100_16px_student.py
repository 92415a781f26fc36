# The student, trained by the task loss alone: ResNet-8 of width 16 on 100 classes of Tiny-ImageNet
# at 16x16, 200 images each, 12 epochs of 157 iterations (our choice: small enough to search on a
# CPU).
_base_ = ['tin100_32px_student.py']
data_root = 'data/tin100_small'
data_hint = (
    'Make data/tin100 (tools/dataset_converters/tin100.py), then run '
    '`python tools/dataset_converters/derive.py data/tin100 data/tin100_small --select 50 '
    '--per-class 200`.')
model = dict(
    backbone=dict(stem_channels=16, base_channels=16),
    head=dict(in_channels=64))

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=16, interpolation='area'),
    dict(type='RandomCrop', crop_size=16, padding=2),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=16, interpolation='area'),
    dict(type='PackInputs')
]
train_dataloader = dict(
    batch_size=128,
    dataset=dict(dataset=dict(data_root=data_root, pipeline=train_pipeline)))
val_dataloader = dict(
    dataset=dict(dataset=dict(data_root=data_root, pipeline=test_pipeline)))
test_dataloader = dict(
    dataset=dict(data_root=data_root, pipeline=test_pipeline))

optim_wrapper = dict(optimizer=dict(lr=0.1))
param_scheduler = dict(
    _delete_=True,
    type='CosineAnnealingLR',
    T_max=12,
    by_epoch=True,
    convert_to_iter_based=True)
train_cfg = dict(max_epochs=12, val_interval=3)
default_hooks = dict(
    logger=dict(interval=50), checkpoint=dict(interval=3, max_keep_ckpts=1))
