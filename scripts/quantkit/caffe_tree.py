"""The patched Caffe and the program gfpq that the tools run on."""

import importlib
import os
import pathlib
import shutil
import subprocess
import sys

from .child_process import Problem

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def add_arguments(parser):
    parser.add_argument("--caffe", type=pathlib.Path, metavar="DIR",
                        help="the patched Caffe tree; otherwise the one that PYTHONPATH names")
    parser.add_argument("--gpu", type=int, metavar="ID", help="compute on this GPU; otherwise on the CPU")
    parser.add_argument("--gfpq", metavar="FILE",
                        help="the program gfpq; otherwise $GFPQ, the one on PATH, or this repository's build")


def load_caffe(root=None, gpu=None):
    """The module caffe, of a tree that has the patch."""
    if root is not None:
        python = pathlib.Path(root) / "python"
        if not (python / "caffe" / "_caffe.so").exists():
            raise Problem(f"{python}/caffe has no _caffe.so: run `make pycaffe` in {root}")
        sys.path.insert(0, str(python.resolve()))
    try:
        caffe = importlib.import_module("caffe")
    except ImportError as error:
        raise Problem(f"no Caffe to import ({error}): give --caffe DIR, a patched tree after `make pycaffe`") from None
    tree = pathlib.Path(caffe.__file__).resolve().parents[2]
    net = caffe.proto.caffe_pb2.NetParameter.DESCRIPTOR
    if "Quant" not in list(caffe.layer_type_list()) or "weight_quant_param" not in net.fields_by_name:
        raise Problem(f"the Caffe in {tree} has no Quant layer: run `gfpq patch apply {tree}`, then there "
                      "`make clean` and `make pycaffe`")
    if gpu is None:
        caffe.set_mode_cpu()
    else:
        caffe.set_device(gpu)
        caffe.set_mode_gpu()
    return caffe


def find_gfpq(given=None):
    """The program's path."""
    build = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "release" / "gfpq"
    for path in (given, os.environ.get("GFPQ"), shutil.which("gfpq"), build):
        if path and os.access(path, os.X_OK) and os.path.isfile(path):
            return os.path.abspath(path)
        if path and path in (given, os.environ.get("GFPQ")):
            raise Problem(f"{path} is not the program gfpq")
    raise Problem("no program gfpq: build it with scripts/package.sh, and give its path with --gfpq or put it on PATH")


def call_gfpq(program, *arguments, accept=(0,)):
    """Its standard output; what it complains about becomes the Problem, unless the exit code is one to accept."""
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode not in accept or not done.stdout and done.returncode:
        raise Problem(done.stderr.strip().replace("\n", " ") or f"{program} failed with code {done.returncode}")
    return done.stdout
