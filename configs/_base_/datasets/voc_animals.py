# Nine classes of VOC 2012 that look alike: 160x96 images, 96x96 crops.
_base_ = ['camvid.py']
dataset_type = 'BaseSegDataset'
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

train_pipeline = _base_.train_pipeline
train_pipeline[2].update(  # RandomResize
    scale=(160, 96), ratio_range=(0.75, 1.5))
train_pipeline[3].update(crop_size=crop_size)  # RandomCrop
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=(160, 96))  # Resize
train_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        metainfo=metainfo,
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        metainfo=metainfo,
        pipeline=test_pipeline))
test_dataloader = val_dataloader
