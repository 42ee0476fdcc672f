"""Measures a net on training data with its layers as in deployment: the Quant layers' ranges, and the loss."""

import ctypes

from . import evaluation, model


def seed_everything(caffe, seed):
    """Seeds Caffe's random numbers, and those of the C library, which HDF5Data shuffles with."""
    caffe.set_random_seed(seed)
    ctypes.CDLL(None).srand(seed)


def deployed_loss(caffe, net, weights, batches, file, seed):
    """The train net's mean loss over `batches` training batches, with every layer as in TEST.

    `file` is where the net's prototxt is written. The same seed gives the same loss.
    """
    deployed = type(net)()
    deployed.CopyFrom(net)
    for layer in deployed.layer:
        layer.phase = caffe.TEST
    seed_everything(caffe, seed)
    built = model.build(caffe, deployed, file)
    built.copy_from(str(weights))

    total = 0.0
    for _ in range(batches):
        built.forward()
        total += evaluation.loss_of(built)
    return total / batches


def calibration_net(caffe, net):
    """The net that finds the ranges: it computes in float, and its Quant layers only look at the data.

    All other layers behave as in TEST: Dropout passes everything through, BatchNorm uses its stored statistics, images
    are not mirrored. The ranges are therefore those of the data that the chip would compute in float. Ranges of data
    that earlier layers have quantised would differ; where quantisation damages a net they may be too wide, and training
    never narrows a range.
    """
    pb2 = caffe.proto.caffe_pb2
    out = pb2.NetParameter()
    out.CopyFrom(net)
    out.ClearField("weight_quant_param")
    del out.layer[:]
    for layer in net.layer:
        own = out.layer.add()
        own.CopyFrom(layer)
        own.phase = pb2.TEST
        if layer.type == "Quant" and layer.quant_param.quant_en:
            own.phase = pb2.TRAIN
            own.top[:] = [f"{top}/range" for top in layer.top]
            # The readers of the Quant layer read this float copy of its input instead.
            copy = out.layer.add()
            copy.CopyFrom(layer)
            copy.name = f"{layer.name}/float"
            copy.phase = pb2.TEST
            copy.quant_param.quant_en = False
    return out


def calibrate(caffe, net, weights, batches, out, seed, progress):
    """Sets the ranges from `batches` batches of training data, and writes the model with them to the file `out`.

    `net` is the NetParameter of a quantised train net, with its state. `weights` is the caffemodel to start from; its
    ranges are ignored. Calls progress() after each batch.
    """
    seed_everything(caffe, seed)
    built = model.build(caffe, calibration_net(caffe, net), out.with_name("calibration.prototxt"))
    built.copy_from(str(weights))
    for layer, blobs in built.params.items():
        if built.layer_dict[layer].type == "Quant":
            blobs[0].data[...] = 0

    for _ in range(batches):
        built.forward()
        progress()

    part = out.with_name(out.name + ".part")
    built.save(str(part))
    part.replace(out)
