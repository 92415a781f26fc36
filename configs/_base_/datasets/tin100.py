# 100 classes of Tiny-ImageNet at 32x32, in one folder per class.
dataset_type = 'CustomDataset'
data_root = 'data/tin100'
data_hint = (
    'Get http://cs231n.stanford.edu/tiny-imagenet-200.zip, unzip it, then run '
    '`python tools/dataset_converters/tin100.py tiny-imagenet-200 data/tin100`.')
data_preprocessor = dict(
    num_classes=100,
    # statistics of the training images, RGB
    mean=[121.442, 113.034, 99.839],
    std=[67.674, 65.433, 68.691],
    to_rgb=True)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs')
]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]

train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix='train',
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=256,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix='val',
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
