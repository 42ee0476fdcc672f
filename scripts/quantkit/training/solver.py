"""A solver's prototxt: its nets, and the same solver with quantised nets."""

import pathlib

from .. import model
from ..child_process import Problem

# An interval in iterations that no training reaches.
NEVER = 2**31 - 1


class Solver:
    """A solver file, read and checked: Caffe would abort() on the errors that are reported here as a Problem."""

    def __init__(self, caffe, path, needs_test=True):
        self.caffe = caffe
        self.path = path
        self.param = model.read_text(path, caffe.proto.caffe_pb2.SolverParameter())
        param = self.param
        train = [field for field in ("net", "net_param", "train_net", "train_net_param") if param.HasField(field)]
        if len(train) != 1:
            raise Problem(f"{path}: a solver must name one train net, as net or train_net; this one names {len(train)}")
        for name in self.files():
            if not pathlib.Path(name).is_file():
                raise Problem(f"{path}: no net {name} in {pathlib.Path.cwd()}: run from the folder where "
                              "`caffe train` finds it")

        if not needs_test:
            return
        own = len(param.test_net) + len(param.test_net_param)
        generic = param.HasField("net") or param.HasField("net_param")
        if not param.test_iter:
            raise Problem(f"{path}: no test net, so accuracy cannot be measured: give the solver test_iter (the number "
                          "of batches of a test) and test_interval, and the net layers for phase TEST")
        if len(param.test_iter) < own or (len(param.test_iter) > own and not generic):
            raise Problem(f"{path}: {len(param.test_iter)} test_iter for {own} test nets")

    def files(self):
        """The net files that the solver names."""
        param = self.param
        return [name for name in (param.net, param.train_net, *param.test_net) if name]

    def nets(self):
        """Yields the NetParameter of each net of a training, with its state: the train net, then the test nets.

        The order and the states follow Caffe's Solver::InitTrainNet and InitTestNets.
        """
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
        """A copy of the SolverParameter in which every net is replaced by a quantised one in the folder.

        change(net file, new file) writes each of these; a net that is named more than once is changed once.
        """
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

        # Caffe numbers inline test nets before those in files.
        tests = [replace(source) for source in (*param.test_net_param, *param.test_net)]
        param.ClearField("test_net_param")
        param.test_net[:] = tests
        return param


def quiet(param):
    """Switches off the solver's own tests, snapshots and output, which the caller does instead. Returns `param`."""
    param.test_interval = NEVER
    param.test_initialization = False
    param.snapshot = 0
    param.snapshot_after_train = False
    param.display = 0
    param.ClearField("weights")
    return param


def moved(param, old, new):
    """Replaces the folder `old` by `new` in the paths of a SolverParameter that quantised() made. Returns `param`."""
    for field in ("net", "train_net", "snapshot_prefix"):
        if param.HasField(field):
            setattr(param, field, getattr(param, field).replace(f"{old}/", f"{new}/", 1))
    param.test_net[:] = [name.replace(f"{old}/", f"{new}/", 1) for name in param.test_net]
    return param
