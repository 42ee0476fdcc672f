"""Ranges for Quant layers, from training data and the net as it is deployed."""

from . import model


def calibration_net(caffe, net):
    """The net with Quant layers that widen their ranges while all others behave as in TEST.

    Dropout passes everything through, BatchNorm uses (and keeps) its statistics, images are not mirrored: a range is
    then that of what the chip will see.
    """
    pb2 = caffe.proto.caffe_pb2
    out = pb2.NetParameter()
    out.CopyFrom(net)
    for layer in out.layer:
        layer.phase = pb2.TRAIN if layer.type == "Quant" else pb2.TEST
    return out


def calibrate(caffe, net, weights, batches, out, progress):
    """Runs the train net's data through it and writes the model, ranges included, to the file `out`.

    `net` is the NetParameter of a quantised train net, its state included. Ranges that `weights` may hold count for
    nothing. Calls progress() after each batch.
    """
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
