"""The training loop: Caffe's solver steps, this loop tests, snapshots, and stops when asked."""

import collections
import math
import signal
import time

import numpy as np

from . import replay
from .. import evaluation
from ..child_process import Problem


class Schedule:
    """How often things happen, in iterations. They also happen after the last one."""

    def __init__(self, iterations, test_interval, snapshot, display):
        self.iterations = iterations
        self.test_interval = test_interval
        self.snapshot = snapshot
        self.display = display

    def due(self, interval, iteration):
        return iteration == self.iterations or (interval > 0 and iteration % interval == 0)


class Interrupt:
    """Ctrl-C or SIGTERM asks for an end after the iteration at work; another one, a second later, ends at once."""

    def __init__(self):
        self.asked = False
        self.first = 0.0

    def __enter__(self):
        self.old = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_):
        for number, handler in self.old.items():
            signal.signal(number, handler)

    def _ask(self, *_):
        # A signal to the process group comes twice: the parent passes it on.
        if self.asked and time.monotonic() > self.first + 1:
            raise KeyboardInterrupt
        if not self.asked:
            self.asked, self.first = True, time.monotonic()


def train(solver, param, schedule, snapshots, curves, progress, after_snapshot):
    """Trains to the schedule's end, and returns whether it came that far: not if it was interrupted.

    `param` is the solver's SolverParameter. The solver may have been restored: its data layers and random numbers are
    brought to the same place first. Without room for a snapshot training goes on, and says so; without room for the
    last one it fails.
    """
    _catch_up(solver, param, schedule)
    recent = collections.deque(maxlen=max(1, schedule.display))
    values = []
    with Interrupt() as interrupt:
        while solver.iter < schedule.iterations:
            rate = solver.lr
            solver.step(1)
            iteration = solver.iter
            recent.append(evaluation.loss_of(solver.net))
            test = schedule.due(schedule.test_interval, iteration)
            _check_finite(solver.net, recent[-1], iteration, test)
            if test:
                for net in solver.test_nets:
                    net.share_with(solver.net)
                values = evaluation.evaluate(solver.test_nets, param.test_iter)
            if test or schedule.due(schedule.display, iteration):
                curves.add(iteration, sum(recent) / len(recent), rate, values if test else [])
            progress.show(iteration, recent, values)
            last = iteration == schedule.iterations or interrupt.asked
            if last or schedule.due(schedule.snapshot, iteration):
                try:
                    snapshots.take(solver)
                    after_snapshot()
                except Problem as problem:
                    if last:
                        raise
                    progress.say(f"{problem}; training goes on")
            if interrupt.asked:
                break
    return solver.iter >= schedule.iterations


def _check_finite(net, loss, iteration, thoroughly):
    """Fails when training has diverged. Quant layers take NaN for 0, so that a finite loss alone says little."""
    lost = [] if math.isfinite(loss) else ["the loss"]
    if thoroughly:
        lost += [name for name, blobs in net.params.items() if not all(np.isfinite(blob.data).all() for blob in blobs)]
    if lost:
        raise Problem(f"{lost[0]} is not finite at iteration {iteration}: start anew with a lower --base-lr")


def _catch_up(solver, param, schedule):
    """Runs what drew and moved in the iterations before, in their order."""
    moving = replay.moving(solver.net)
    tests = [(net, replay.moving(net), count) for net, count in zip(solver.test_nets, param.test_iter)]
    for iteration in range(1, solver.iter + 1):
        replay.advance(solver.net, moving, param.iter_size)
        if schedule.due(schedule.test_interval, iteration):
            for net, layers, count in tests:
                replay.advance(net, layers, count)
