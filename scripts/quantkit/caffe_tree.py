"""Finds and loads the patched Caffe and the program gfpq."""

import importlib
import os
import pathlib
import shutil
import subprocess
import sys

from .child_process import Problem

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def add_arguments(parser):
    """Adds the options --caffe, --gpu and --gfpq, which both tools have."""
    parser.add_argument("--caffe", type=pathlib.Path, metavar="DIR",
                        help="root of the patched Caffe tree (default: the one in PYTHONPATH)")
    parser.add_argument("--gpu", type=int, metavar="ID", help="compute on this GPU (default: on the CPU)")
    parser.add_argument("--gfpq", metavar="FILE",
                        help="the program gfpq (default: $GFPQ, the one on PATH, or this repository's build)")


def load_caffe(root=None, gpu=None):
    """Imports caffe from the tree `root`, or from PYTHONPATH, and selects the GPU or the CPU.

    Raises a Problem if Caffe cannot be imported or does not have the patch.
    """
    if root is not None:
        python = pathlib.Path(root) / "python"
        if not (python / "caffe" / "_caffe.so").exists():
            raise Problem(f"{python}/caffe has no _caffe.so: run `make pycaffe` in {root}")
        sys.path.insert(0, str(python.resolve()))
    try:
        caffe = importlib.import_module("caffe")
    except ImportError as error:
        raise Problem(f"Caffe cannot be imported ({error}): give --caffe DIR, a patched tree that was built with "
                      "`make pycaffe`") from None
    tree = pathlib.Path(caffe.__file__).resolve().parents[2]
    net = caffe.proto.caffe_pb2.NetParameter.DESCRIPTOR
    if "Quant" not in list(caffe.layer_type_list()) or "weight_quant_param" not in net.fields_by_name:
        raise Problem(f"the Caffe in {tree} has no Quant layer: run `gfpq patch apply {tree}`, and then "
                      "`make clean` and `make pycaffe` in that tree")
    if gpu is None:
        caffe.set_mode_cpu()
    else:
        caffe.set_device(gpu)
        caffe.set_mode_gpu()
    return caffe


def find_gfpq(given=None):
    """The absolute path of the program gfpq: `given` (--gfpq), $GFPQ, the one on PATH, or this repository's build."""
    build = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "release" / "gfpq"
    for path in (given, os.environ.get("GFPQ"), shutil.which("gfpq"), build):
        if path and os.access(path, os.X_OK) and os.path.isfile(path):
            return os.path.abspath(path)
        if path and path in (given, os.environ.get("GFPQ")):
            raise Problem(f"{path} is not an executable file: it should be the program gfpq")
    raise Problem("the program gfpq was not found: build it with scripts/package.sh, or give its path with --gfpq")


def call_gfpq(program, *arguments, accept=(0,)):
    """Runs gfpq and returns its standard output.

    Raises a Problem with gfpq's own message if the exit code is not in `accept`, or is not 0 and nothing was printed.
    """
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode not in accept or not done.stdout and done.returncode:
        raise Problem(done.stderr.strip().replace("\n", " ") or f"{program} failed with code {done.returncode}")
    return done.stdout
