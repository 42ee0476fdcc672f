"""Measures what Quant layers add to a training iteration's time, for LeNet, ResNet-18 and the digits' residual net.

Iterations with and without Quant layers alternate. Prints the medians and their ratio. Needs a patched Caffe, whose
python folder is in PYTHONPATH, and the program gfpq.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

os.environ.setdefault("GLOG_minloglevel", "2")

from google.protobuf import text_format  # noqa: E402

import caffe  # noqa: E402
from caffe import layers as L, params as P  # noqa: E402

FILLER = {"type": "msra"}
RESIDUAL = pathlib.Path(__file__).resolve().parent / "sample/digits/residual_train_test.prototxt"
# Options of add-quant for each kind of quantised net.
KINDS = {"data": [], "data and weights": ["--weights"], "folded weights": ["--weights", "--fold"]}


def lenet():
    """BVLC's LeNet on a batch of 64 images of 28 x 28."""
    net = caffe.NetSpec()
    net.data = L.DummyData(shape={"dim": [64, 1, 28, 28]}, data_filler={"type": "uniform"})
    net.label = L.DummyData(shape={"dim": [64]})
    net.conv1 = L.Convolution(net.data, num_output=20, kernel_size=5, weight_filler=FILLER)
    net.pool1 = L.Pooling(net.conv1, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    net.conv2 = L.Convolution(net.pool1, num_output=50, kernel_size=5, weight_filler=FILLER)
    net.pool2 = L.Pooling(net.conv2, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    net.ip1 = L.InnerProduct(net.pool2, num_output=500, weight_filler=FILLER)
    net.relu1 = L.ReLU(net.ip1, in_place=True)
    net.ip2 = L.InnerProduct(net.relu1, num_output=10, weight_filler=FILLER)
    net.loss = L.SoftmaxWithLoss(net.ip2, net.label)
    return net.to_proto()


def conv_bn(bottom, channels, stride=1, kernel=3, relu=True):
    """A convolution with BatchNorm, Scale and, if wanted, ReLU, all in place."""
    conv = L.Convolution(bottom, num_output=channels, kernel_size=kernel, stride=stride, pad=kernel // 2,
                         bias_term=False, weight_filler=FILLER)
    scale = L.Scale(L.BatchNorm(conv, in_place=True), bias_term=True, in_place=True)
    return L.ReLU(scale, in_place=True) if relu else scale


def resnet():
    """ResNet-18 on a batch of 4 images of 224 x 224."""
    net = caffe.NetSpec()
    net.data = L.DummyData(shape={"dim": [4, 3, 224, 224]}, data_filler={"type": "uniform"})
    net.label = L.DummyData(shape={"dim": [4]})
    x = L.Pooling(conv_bn(net.data, 64, 2, 7), kernel_size=3, stride=2, pool=P.Pooling.MAX)
    for stage, channels in enumerate((64, 128, 256, 512)):
        for block in range(2):
            stride = 2 if stage > 0 and block == 0 else 1
            short = conv_bn(x, channels, stride, 1, relu=False) if stride > 1 else x
            body = conv_bn(conv_bn(x, channels, stride), channels, relu=False)
            x = L.ReLU(L.Eltwise(body, short), in_place=True)
    pool = L.Pooling(x, pool=P.Pooling.AVE, global_pooling=True)
    net.ip = L.InnerProduct(pool, num_output=1000, weight_filler=FILLER)
    net.loss = L.SoftmaxWithLoss(net.ip, net.label)
    return net.to_proto()


def residual():
    """The residual net of the digits example, with random images in place of its data layer."""
    net = text_format.Parse(RESIDUAL.read_text(), caffe.proto.caffe_pb2.NetParameter())
    batch = net.layer[0].hdf5_data_param.batch_size
    data = L.DummyData(ntop=2, shape=[{"dim": [batch, 1, 8, 8]}, {"dim": [batch]}],
                       data_filler=[{"type": "uniform"}, {"type": "constant"}])
    layers = [layer for layer in net.layer if layer.type not in ("HDF5Data", "Accuracy")]
    random_data = caffe.to_proto(*data).layer[0]
    random_data.top[:] = ["data", "label"]
    del net.layer[:]
    net.layer.extend([random_data, *layers])
    return net


def solver_for(folder, name, net):
    """A solver for the net file `net` that does not change the weights."""
    path = folder / f"{name}_solver.prototxt"
    path.write_text(f'net: "{net}" base_lr: 0 lr_policy: "fixed" max_iter: 1000000 snapshot_after_train: false')
    return caffe.get_solver(str(path))


def measure(folder, name, proto, gfpq, rounds):
    """Times one net in float and in each of the KINDS, in turns, and prints the medians."""
    plain = folder / f"{name}.prototxt"
    plain.write_text(str(proto))
    solvers = {"float": solver_for(folder, name, plain)}
    for kind, options in KINDS.items():
        out = folder / f"{name}_{len(solvers)}.prototxt"
        subprocess.run([gfpq, "prototxt", "add-quant", plain, "-o", out, *options], check=True, capture_output=True)
        solvers[kind] = solver_for(folder, out.stem, out)

    times = {kind: [] for kind in solvers}
    for solver in solvers.values():
        solver.step(2)

    for _ in range(rounds):
        for kind, solver in solvers.items():
            start = time.perf_counter()
            solver.step(1)
            times[kind].append(1000 * (time.perf_counter() - start))

    medians = {kind: statistics.median(values) for kind, values in times.items()}
    for kind, median in medians.items():
        print(f"{name:9} {kind:17} {median:9.1f} ms   {median / medians['float']:.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gfpq", required=True, help="the program gfpq")
    parser.add_argument("--rounds", type=int, default=15, help="timed iterations of each net (default: 15)")
    arguments = parser.parse_args()
    caffe.set_mode_cpu()
    print("net       quantised          an iteration   to float")
    with tempfile.TemporaryDirectory() as folder:
        for name, build in (("LeNet", lenet), ("ResNet-18", resnet), ("digits", residual)):
            measure(pathlib.Path(folder), name, build(), arguments.gfpq, arguments.rounds)


if __name__ == "__main__":
    main()
