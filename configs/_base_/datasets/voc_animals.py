# Nine classes of VOC 2012 that look alike, from pictures with a short side of 192: 160x96 images,
# 96x96 crops.
data_root = 'data/voc_animals'
data_hint = (
    'It is a selection of VOC 2012 (the masks of VOC-Aug) as img_dir/{train,val}/*.jpg and '
    'ann_dir/{train,val}/*.png: the labels are 0 to 8 in the order of the classes, all other '
    'pixels are 255.')
metainfo = dict(
    classes=('background', 'cat', 'cow', 'dog', 'horse', 'sheep', 'person',
             'chair', 'sofa'),
    palette=[[0, 0, 0], [64, 0, 0], [64, 128, 0], [64, 0, 128], [192, 0, 128],
             [128, 64, 0], [192, 128, 128], [192, 0, 0], [0, 192, 0]])
crop_size = (96, 96)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(
        type='RandomResize',
        scale=(160, 96),
        ratio_range=(0.75, 1.5),
        keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(160, 96), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs')
]
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='BaseSegDataset',
        data_root=data_root,
        data_prefix=dict(
            img_path='img_dir/train', seg_map_path='ann_dir/train'),
        metainfo=metainfo,
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='BaseSegDataset',
        data_root=data_root,
        data_prefix=dict(img_path='img_dir/val', seg_map_path='ann_dir/val'),
        metainfo=metainfo,
        pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
