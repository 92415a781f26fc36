# The control without a teacher: label smoothing, by the best share of results/README.md.
_base_ = ['wrong_labels_student.py']
model = dict(
    head=dict(loss=dict(type='LabelSmoothLoss', label_smooth_val=0.7)))
