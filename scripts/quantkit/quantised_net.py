"""Writes the quantised version of a net."""

from . import caffe_tree, model
from .child_process import Problem


def judges_unfolded(net):
    """Whether the net's weights are quantised without the BatchNorm layers that the NNIE compiler folds into them.

    The figures of such a net differ from the chip's.
    """
    return (net.HasField("weight_quant_param") and not net.weight_quant_param.fold_batch_norm
            and any(layer.type == "BatchNorm" for layer in net.layer))


def quantise(caffe, program, source, out, options, data=True, weights=True, fold=False, freeze=False):
    """Writes the quantised version of the net file `source` to `out`, with `gfpq prototxt add-quant` and its `options`.

    `data` and `weights` say what is quantised. A layer's weights get the width of its data: 16 bits for a --sixteen
    layer; those of an excluded layer stay float. `fold` quantises weights with BatchNorm and Scale folded in. `freeze`
    makes BatchNorm layers use their stored statistics in training.
    """
    options = [*options, *(["--weights"] if weights else []), *(["--fold"] if weights and fold else [])]
    caffe_tree.call_gfpq(program, "prototxt", "add-quant", source, "-o", out, *options)
    net = model.read_text(out, caffe.proto.caffe_pb2.NetParameter())
    quants = [layer for layer in net.layer if layer.type == "Quant"]
    if not quants:
        raise Problem(f"{source}: there is nothing in it that the NNIE quantises, or all of it is excluded")

    if not data:
        for layer in quants:
            layer.quant_param.quant_en = False
    if freeze:
        for layer in net.layer:
            if layer.type == "BatchNorm":
                layer.batch_norm_param.use_global_stats = True
    if freeze or not data:
        model.write_text(out, net)
