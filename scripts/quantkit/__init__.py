"""What finetune.py and diagnose.py share: a patched Caffe, nets and models as they are on disk, and as they run."""
