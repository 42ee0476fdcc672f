"""Caffe's files: text prototxts and binary models, and the check that a model fits a net."""

import os
import pathlib

import numpy as np
from google.protobuf import message, text_format

from .child_process import Problem


def read_text(path, proto):
    """Parses a prototxt into the message `proto`, and returns it."""
    try:
        return text_format.Parse(pathlib.Path(path).read_text(), proto)
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Problem(f"{path}: not a text file; is it a caffemodel?") from None
    except text_format.ParseError as error:
        raise Problem(f"{path}: not a {proto.DESCRIPTOR.name}: {error}") from None


def write_text(path, proto):
    """Writes a message as a prototxt, completely or not at all."""
    write(path, text_format.MessageToString(proto).encode())


def write(path, data):
    """Writes a file completely or not at all."""
    part = pathlib.Path(f"{path}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise Problem(f"{path}: {error.strerror}") from None


def read_binary(path, proto):
    """Parses a caffemodel or solverstate into the message `proto`, and returns it."""
    try:
        proto.ParseFromString(pathlib.Path(path).read_bytes())
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}") from None
    except message.DecodeError:
        raise Problem(f"{path}: not a binary {proto.DESCRIPTOR.name}, or it was cut short") from None
    return proto


def build(caffe, net, file):
    """Builds the net of a NetParameter in its phase and level. Writes the parameter to `file`, which pycaffe reads."""
    write_text(file, net)
    return caffe.Net(str(file), net.state.phase, level=net.state.level)


def float_net(net):
    """A copy of the net that computes in float: without quantised weights, and with its Quant layers off."""
    out = type(net)()
    out.CopyFrom(net)
    out.ClearField("weight_quant_param")
    for layer in out.layer:
        if layer.type == "Quant":
            layer.quant_param.quant_en = False
    return out


def blob_shape(blob):
    """The shape of a BlobProto, also in the old form with four fields."""
    if blob.HasField("shape"):
        return tuple(blob.shape.dim)
    return (blob.num, blob.channels, blob.height, blob.width)


def blob_array(blob):
    """The values of a BlobProto as a float32 array in its shape."""
    return np.array(blob.data if blob.data else blob.double_data, dtype=np.float32).reshape(blob_shape(blob))


class Model:
    """A caffemodel: lists of BlobProtos by layer name."""

    def __init__(self, caffe, path):
        self.path = path
        proto = read_binary(path, caffe.proto.caffe_pb2.NetParameter())
        self.blobs = {layer.name: list(layer.blobs) for layer in (proto.layer or proto.layers) if layer.blobs}
        if not self.blobs:
            raise Problem(f"{path}: no weights in this file: is it a caffemodel?")

    def check(self, net, net_name):
        """Raises a Problem unless the model has finite weights of the right shape for the built net's layers.

        Quant layers may be missing: they get their ranges from data. `net_name` stands for the net in messages.
        """
        missing = []
        for name, blobs in net.params.items():
            if net.layer_dict[name].type == "Quant" and name not in self.blobs:
                continue
            own = self.blobs.get(name)
            if own is None:
                missing.append(name)
                continue
            shapes = [tuple(blob.data.shape) for blob in blobs]
            given = [blob_shape(blob) for blob in own]
            # Old versions of Caffe wrote every blob with four dimensions.
            if [_without_ones(shape) for shape in shapes] != [_without_ones(shape) for shape in given]:
                raise Problem(f"{self.path}: layer {name} has blobs of shape {given}, but {net_name} needs {shapes}")
            for blob in own:
                if not np.isfinite(blob_array(blob)).all():
                    raise Problem(f"{self.path}: layer {name} holds NaN or infinity: the training has diverged; take "
                                  "an earlier snapshot")
        if missing:
            listed = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            raise Problem(f"{self.path}: no weights for {net_name}'s layers {listed}: is this the model of that net?")


def _without_ones(shape):
    return tuple(dim for dim in shape if dim != 1)
