"""The training loop: Caffe's solver makes the steps; this loop tests, takes snapshots, and stops on an interrupt."""

import collections
import math
import signal
import time

import numpy as np

from . import replay
from .. import evaluation
from ..child_process import Problem


class Schedule:
    """The intervals of tests, snapshots and reports, in iterations. Each also happens after the last iteration."""

    def __init__(self, iterations, test_interval, snapshot, display):
        self.iterations = iterations
        self.test_interval = test_interval
        self.snapshot = snapshot
        self.display = display

    def due(self, interval, iteration):
        """Whether what has this interval happens after this iteration. An interval of 0 stands for the end only."""
        return iteration == self.iterations or (interval > 0 and iteration % interval == 0)


class Interrupt:
    """Ctrl-C or SIGTERM sets `asked`, which ends the training after the current iteration.

    Another one, more than a second later, ends it at once.
    """

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
        # One Ctrl-C can arrive twice, from the terminal and from the parent process; that is not a second request.
        if self.asked and time.monotonic() > self.first + 1:
            raise KeyboardInterrupt
        if not self.asked:
            self.asked, self.first = True, time.monotonic()


def train(solver, param, schedule, snapshots, curves, progress, after_snapshot):
    """Trains to the end of the schedule. Returns whether the end was reached: False if the training was interrupted.

    `param` is the solver's SolverParameter. If the solver was restored from a snapshot, its data layers and random
    numbers are brought to the same state first. If a snapshot cannot be written, training goes on with a message;
    without the last one it raises a Problem. Calls after_snapshot() after each snapshot.
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
    """Raises a Problem if training has diverged.

    Quant layers turn NaN into 0, so the loss can be finite with NaN in the weights: `thoroughly` checks these too.
    """
    lost = [] if math.isfinite(loss) else ["the loss"]
    if thoroughly:
        lost += [name for name, blobs in net.params.items() if not all(np.isfinite(blob.data).all() for blob in blobs)]
    if lost:
        raise Problem(f"{lost[0]} is not finite at iteration {iteration}: start again with a lower --base-lr")


def _catch_up(solver, param, schedule):
    """Repeats the forward passes of stateful layers in the iterations before the restored one, in their order."""
    stateful = replay.stateful_layers(solver.net)
    tests = [(net, replay.stateful_layers(net), count) for net, count in zip(solver.test_nets, param.test_iter)]
    for iteration in range(1, solver.iter + 1):
        replay.advance(solver.net, stateful, param.iter_size)
        if schedule.due(schedule.test_interval, iteration):
            for net, layers, count in tests:
                replay.advance(net, layers, count)
