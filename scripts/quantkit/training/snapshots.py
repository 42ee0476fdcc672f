"""Snapshots that are whole or not there: a full disk costs a training nothing but the snapshot.

Caffe writes in place and aborts, or notices nothing, when the disk is full. Here the room is reserved first, Caffe
writes into a folder apart, what it wrote is read back, and only then does it get its name.
"""

import os
import pathlib
import re
import shutil

from .. import model
from ..child_process import Problem

# The last ones stay; finetune.py chooses its result among them.
KEPT = 4


class Snapshots:
    """The snapshots of one training, in a folder: iter_N.caffemodel and iter_N.solverstate."""

    def __init__(self, caffe, folder):
        self.pb2 = caffe.proto.caffe_pb2
        self.folder = pathlib.Path(folder).resolve()
        self.part = self.folder / "part"
        self.part.mkdir(parents=True, exist_ok=True)

    @property
    def prefix(self):
        """The solver's snapshot_prefix."""
        return str(self.part / "snapshot")

    def iterations(self):
        """Those there are, oldest first."""
        found = (re.fullmatch(r"iter_(\d+)\.solverstate", path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def weights(self, iteration):
        """A snapshot's caffemodel."""
        return self._files(iteration)[0]

    def _files(self, iteration):
        return [self.folder / f"iter_{iteration}.{kind}" for kind in ("caffemodel", "solverstate")]

    def take(self, solver):
        """Snapshots the solver. Raises a Problem, and leaves earlier snapshots, where the disk does not take it."""
        try:
            self.reserve(solver)
            solver.snapshot()
            written = [f"{self.prefix}_iter_{solver.iter}.{kind}" for kind in ("caffemodel", "solverstate")]
            weights, state = self._files(solver.iter)
            model.read_binary(written[0], self.pb2.NetParameter())
            progress = model.read_binary(written[1], self.pb2.SolverState())
            progress.learned_net = str(weights)
            model.write(written[1], progress.SerializeToString())
            os.replace(written[0], weights)
            os.replace(written[1], state)
        except OSError as error:
            raise Problem(f"no snapshot at iteration {solver.iter}: {self.folder}: {error.strerror}") from None
        finally:
            for path in self.part.iterdir():
                path.unlink()
        for old in self.iterations()[:-KEPT]:
            for path in self._files(old):
                path.unlink(missing_ok=True)

    def reserve(self, solver):
        """Raises a Problem where a snapshot's bytes do not fit."""
        weights = sum(blob.data.nbytes for blobs in solver.net.params.values() for blob in blobs)
        # The model, and a solver's history of at most two blobs for each of its own.
        size = 3 * weights + 2**20
        room = self.part / "room"
        try:
            with open(room, "wb") as file:
                os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise Problem(f"no snapshot at iteration {solver.iter}: {self.folder} has no room for {size / 1e6:.1f} MB: "
                          f"{error.strerror}") from None
        finally:
            room.unlink(missing_ok=True)

    def restore(self, solver, iteration):
        weights, state = self._files(iteration)
        if not weights.exists():
            raise Problem(f"{state} has no {weights.name} beside it")
        progress = model.read_binary(state, self.pb2.SolverState())
        if progress.learned_net != str(weights):
            # The folder has moved.
            progress.learned_net = str(weights)
            model.write(state, progress.SerializeToString())
        solver.restore(str(state))

    def save_weights(self, iteration, out):
        """Copies a snapshot's weights, whole or not at all."""
        part = pathlib.Path(f"{out}.part")
        try:
            shutil.copyfile(self._files(iteration)[0], part)
            os.replace(part, out)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise Problem(f"{out}: {error.strerror}; the weights are in {self._files(iteration)[0]}") from None
