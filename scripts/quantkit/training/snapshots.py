"""Snapshots that are complete or do not exist. If the disk is full, a training loses the snapshot and nothing else.

Caffe writes its snapshot files in place; if the disk is full it aborts, or does not notice. Here disk space is reserved
first, Caffe writes into a separate folder, the files are read back, and only then do they get their final names.
"""

import os
import pathlib
import re
import shutil

from .. import model
from ..child_process import Problem

# How many of the latest snapshots are kept; finetune.py chooses its result among them.
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
        """The snapshot_prefix for the solver: Caffe writes into the separate folder."""
        return str(self.part / "snapshot")

    def iterations(self):
        """The iterations that have a snapshot, in ascending order."""
        found = (re.fullmatch(r"iter_(\d+)\.solverstate", path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def weights(self, iteration):
        """The path of a snapshot's caffemodel."""
        return self._files(iteration)[0]

    def _files(self, iteration):
        return [self.folder / f"iter_{iteration}.{kind}" for kind in ("caffemodel", "solverstate")]

    def take(self, solver):
        """Takes a snapshot of the solver. Raises a Problem if it cannot be written; earlier snapshots are kept."""
        try:
            self.reserve(solver)
            solver.snapshot()
            written = [f"{self.prefix}_iter_{solver.iter}.{kind}" for kind in ("caffemodel", "solverstate")]
            weights, state = self._files(solver.iter)
            # Reading the files back shows whether they are complete.
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
        """Raises a Problem if the disk has no space for a snapshot."""
        weights = sum(blob.data.nbytes for blobs in solver.net.params.values() for blob in blobs)
        # The model, and the solver's history with up to two blobs for each blob of the model.
        size = 3 * weights + 2**20
        reserved = self.part / "room"
        try:
            with open(reserved, "wb") as file:
                os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise Problem(f"no snapshot at iteration {solver.iter}: {self.folder} has no room for {size / 1e6:.1f} MB: "
                          f"{error.strerror}") from None
        finally:
            reserved.unlink(missing_ok=True)

    def restore(self, solver, iteration):
        """Puts the solver into the state of a snapshot."""
        weights, state = self._files(iteration)
        if not weights.exists():
            raise Problem(f"{state}: its model {weights.name} is missing from that folder")
        progress = model.read_binary(state, self.pb2.SolverState())
        if progress.learned_net != str(weights):
            # The folder was moved after the snapshot.
            progress.learned_net = str(weights)
            model.write(state, progress.SerializeToString())
        solver.restore(str(state))

    def save_weights(self, iteration, out):
        """Copies a snapshot's caffemodel to `out`, completely or not at all."""
        part = pathlib.Path(f"{out}.part")
        try:
            shutil.copyfile(self._files(iteration)[0], part)
            os.replace(part, out)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise Problem(f"{out}: {error.strerror}; the weights are in {self._files(iteration)[0]}") from None
