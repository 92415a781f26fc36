# resnet8x4 of the literature; resnet32x4 only has another depth.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmickd.CIFARResNet',
        depth=8,
        stem_channels=32,
        base_channels=64),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=100,
        in_channels=256,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        topk=(1, 5)))
