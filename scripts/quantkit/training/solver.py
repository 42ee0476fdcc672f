"""A solver's prototxt, its nets, and the same solver with quantised nets."""

import pathlib

from .. import model
from ..child_process import Problem

NEVER = 2**31 - 1


class Solver:
    """A solver as its file says, with the checks that Caffe answers with abort()."""

    def __init__(self, caffe, path, needs_test=True):
        self.caffe = caffe
        self.path = path
        self.param = model.read_text(path, caffe.proto.caffe_pb2.SolverParameter())
        param = self.param
        train = [field for field in ("net", "net_param", "train_net", "train_net_param") if param.HasField(field)]
        if len(train) != 1:
            raise Problem(f"{path}: a solver names one train net, as net or train_net; this one names {len(train)}")
        for name in self.files():
            if not pathlib.Path(name).is_file():
                raise Problem(f"{path}: no net {name} in {pathlib.Path.cwd()}: run from the folder where "
                              "`caffe train` finds it")
        if not needs_test:
            return
        own = len(param.test_net) + len(param.test_net_param)
        generic = param.HasField("net") or param.HasField("net_param")
        if not param.test_iter:
            raise Problem(f"{path}: no test net, so nothing to measure accuracy with: give it test_iter (how many "
                          "batches a test takes) and test_interval, and the net layers for phase TEST")
        if len(param.test_iter) < own or (len(param.test_iter) > own and not generic):
            raise Problem(f"{path}: {len(param.test_iter)} test_iter for {own} test nets")

    def files(self):
        """The net files it names."""
        param = self.param
        return [name for name in (param.net, param.train_net, *param.test_net) if name]

    def nets(self):
        """Every net that a training with it builds: the train net, then each test net, as Caffe takes them."""
        param, pb2 = self.param, self.caffe.proto.caffe_pb2
        generic = [param.net_param] if param.HasField("net_param") else [param.net] if param.HasField("net") else []
        train = generic or ([param.train_net_param] if param.HasField("train_net_param") else [param.train_net])
        tests = [*param.test_net_param, *param.test_net]
        tests += generic * (len(param.test_iter) - len(tests))
        states = [param.train_state, *(param.test_state or [pb2.NetState()] * len(tests))]
        for index, (source, state) in enumerate(zip([*train, *tests], states)):
            net = pb2.NetParameter()
            if isinstance(source, str):
                model.read_text(source, net)
            else:
                net.CopyFrom(source)
            whole = pb2.NetState(phase=pb2.TRAIN if index == 0 else pb2.TEST)
            whole.MergeFrom(net.state)
            whole.MergeFrom(state)
            net.state.CopyFrom(whole)
            yield net

    def quantised(self, change, folder):
        """Its parameters with every net replaced by a file in the folder that change(net file, new file) wrote."""
        param = type(self.param)()
        param.CopyFrom(self.param)
        made = {}

        def replace(source):
            key = source if isinstance(source, str) else source.SerializeToString()
            if key not in made:
                stem = pathlib.Path(source).stem if isinstance(source, str) else "net"
                out = folder / f"{stem}_quant.prototxt"
                if out in made.values():
                    out = folder / f"{stem}_quant{len(made)}.prototxt"
                if not isinstance(source, str):
                    model.write_text(folder / f"{stem}{len(made)}.prototxt", source)
                    source = folder / f"{stem}{len(made)}.prototxt"
                change(source, out)
                made[key] = out
            return str(made[key])

        for field in ("net", "train_net"):
            inline = f"{field}_param"
            if param.HasField(field):
                setattr(param, field, replace(getattr(param, field)))
            elif param.HasField(inline):
                setattr(param, field, replace(getattr(param, inline)))
                param.ClearField(inline)
        # Caffe counts inline test nets before those in files.
        tests = [replace(source) for source in (*param.test_net_param, *param.test_net)]
        param.ClearField("test_net_param")
        param.test_net[:] = tests
        return param


def quiet(param):
    """Leaves testing, snapshots and output to the caller."""
    param.test_interval = NEVER
    param.test_initialization = False
    param.snapshot = 0
    param.snapshot_after_train = False
    param.display = 0
    param.ClearField("weights")
    return param


def moved(param, old, new):
    """Has a solver that quantised() made name the folder `new` where it named `old`."""
    for field in ("net", "train_net", "snapshot_prefix"):
        if param.HasField(field):
            setattr(param, field, getattr(param, field).replace(f"{old}/", f"{new}/", 1))
    param.test_net[:] = [name.replace(f"{old}/", f"{new}/", 1) for name in param.test_net]
    return param
