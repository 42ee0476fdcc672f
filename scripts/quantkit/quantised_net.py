"""A net's quantised version."""

from . import caffe_tree, model
from .child_process import Problem


def judges_unfolded(net):
    """Whether a quantised net's weights are quantised otherwise than the chip has them, with BatchNorm folded in."""
    return (net.HasField("weight_quant_param") and not net.weight_quant_param.fold_batch_norm
            and any(layer.type == "BatchNorm" for layer in net.layer))


def quantise(caffe, program, source, out, options, data=True, weights=True, fold=False, freeze=False):
    """Writes a net's quantised version with `gfpq prototxt add-quant`; its own file stays as it is.

    A layer's weights get the width of its data: 16 bits for a --sixteen layer, none for an excluded one. `freeze` has
    BatchNorm layers keep their statistics in training.
    """
    options = [*options, *(["--weights"] if weights else []), *(["--fold"] if weights and fold else [])]
    caffe_tree.call_gfpq(program, "prototxt", "add-quant", source, "-o", out, *options)
    net = model.read_text(out, caffe.proto.caffe_pb2.NetParameter())
    quants = [layer for layer in net.layer if layer.type == "Quant"]
    if not quants:
        raise Problem(f"{source}: nothing in it that the NNIE quantises, or all of it excluded")
    if not data:
        for layer in quants:
            layer.quant_param.quant_en = False
    if freeze:
        for layer in net.layer:
            if layer.type == "BatchNorm":
                layer.batch_norm_param.use_global_stats = True
    if freeze or not data:
        model.write_text(out, net)
