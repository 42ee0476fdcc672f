"""What training data say of the net as it is deployed: the ranges for its Quant layers, and its loss."""

import ctypes

from . import evaluation, model


def seed_everything(caffe, seed):
    """Seeds Caffe, and the C library, whose random numbers HDF5Data shuffles with."""
    caffe.set_random_seed(seed)
    ctypes.CDLL(None).srand(seed)


def deployed_loss(caffe, net, weights, batches, file, seed):
    """The train net's mean loss over training batches, the same for the same seed, with all layers as in TEST."""
    still = type(net)()
    still.CopyFrom(net)
    for layer in still.layer:
        layer.phase = caffe.TEST
    seed_everything(caffe, seed)
    built = model.build(caffe, still, file)
    built.copy_from(str(weights))
    total = 0.0
    for _ in range(batches):
        built.forward()
        total += evaluation.loss_of(built)
    return total / batches


def calibration_net(caffe, net):
    """The float net, with Quant layers beside it that find their ranges; all other layers behave as in TEST.

    Dropout passes everything through, BatchNorm uses (and keeps) its statistics, images are not mirrored: a range is
    then that of what the chip would see if it computed in float. One taken behind quantised layers is another, and
    where quantisation ruins a net, a wrong one: it may be too wide, and training never narrows it.
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
            # What reads the Quant layer reads this copy of its input.
            copy = out.layer.add()
            copy.CopyFrom(layer)
            copy.name = f"{layer.name}/float"
            copy.phase = pb2.TEST
            copy.quant_param.quant_en = False
    return out


def calibrate(caffe, net, weights, batches, out, seed, progress):
    """Runs the train net's data through it and writes the model, ranges included, to the file `out`.

    `net` is the NetParameter of a quantised train net, its state included. Ranges that `weights` may hold count for
    nothing. Calls progress() after each batch.
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
