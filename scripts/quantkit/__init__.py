"""What finetune.py and diagnose.py share: the patched Caffe, files of nets and models, calibration and evaluation.

`training` and `diagnosis` build on the modules of this folder, and `diagnosis` also on `training`.
"""
