# Deep mutual learning with a twin; no weight to choose.
_base_ = ['../demo/digits_student.py', '../_base_/methods/dml.py']
