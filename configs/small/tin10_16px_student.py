# tin100_16px_student.py with 10 classes, 350 images each, half the width, 40 epochs of 28
# iterations.
_base_ = ['tin100_16px_student.py']
data_root = 'data/tin10_small'
data_hint = (
    'Make data/tin100 (tools/dataset_converters/tin100.py), then run '
    '`python tools/dataset_converters/derive.py data/tin100 data/tin10_small --classes 0:10 '
    '--select 50`.')
model = dict(
    backbone=dict(stem_channels=8, base_channels=8),
    head=dict(num_classes=10, in_channels=32))
data_preprocessor = dict(num_classes=10)
train_dataloader = dict(dataset=dict(dataset=dict(data_root=data_root)))
val_dataloader = dict(dataset=dict(dataset=dict(data_root=data_root)))
test_dataloader = dict(dataset=dict(data_root=data_root))
param_scheduler = dict(T_max=40)
train_cfg = dict(max_epochs=40, val_interval=10)
default_hooks = dict(logger=dict(interval=28), checkpoint=dict(interval=10))
