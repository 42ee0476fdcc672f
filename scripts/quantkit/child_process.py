"""Runs a tool's work in a child process, because Caffe ends its process on errors.

Caffe answers a failed check with abort(), and no Python code can catch that. The work therefore runs in a child whose
standard error is a log file for Caffe; the tool's own messages and its progress bar go to the terminal. Where Caffe
aborts, the parent finds the reason in the log and says it in one line.
"""

import os
import pathlib
import re
import signal
import sys
import traceback

INTERRUPTED = 130
# The code of a signal that no process sent: Ctrl-C from the terminal, which sends it to the child, too.
FROM_KERNEL = 0x80


class Problem(Exception):
    """What stops a tool, in one line: what is wrong, where, and what to do."""


def run(work, log):
    """Calls work() in a child whose Caffe logs to the file `log`. Returns the exit code, or None if there is none."""
    tool = pathlib.Path(sys.argv[0]).name
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    sys.stdout.flush()
    sys.stderr.flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD))
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os._exit(_in_child(work, tool, log))
    code = _wait(child)
    if code < 0:
        reason = fatal(log.read_text(errors="replace")) or f"ended by signal {-code} ({signal.Signals(-code).name})"
        print(f"{tool}: Caffe stopped: {reason}; its log is {log}", file=sys.stderr)
        return 1
    return code


def _wait(child):
    """The child's exit code. Signals to this process alone are passed on: the child decides what to do about them."""
    while True:
        came = signal.sigwaitinfo((signal.SIGINT, signal.SIGTERM, signal.SIGCHLD))
        if came.si_signo == signal.SIGCHLD:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid == child:
                return os.waitstatus_to_exitcode(status)
        elif came.si_code != FROM_KERNEL:
            os.kill(child, came.si_signo)


def fatal(log):
    """The message of glog's last fatal line."""
    found = re.findall(r"^F\d+ [^\]]* ([\w.]+:\d+)\] (.*?)\n\*\*\*", log, re.MULTILINE | re.DOTALL)
    return f"{' '.join(found[-1][1].split())} ({found[-1][0]})" if found else None


def _in_child(work, tool, log):
    terminal = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 2)
    sys.stderr = terminal
    # Warnings and worse; a variable that the user set stays.
    os.environ.setdefault("GLOG_minloglevel", "1")
    try:
        code = work() or 0
    except Problem as problem:
        print(f"{tool}: {problem}", file=terminal)
        code = 1
    except KeyboardInterrupt:
        print(f"{tool}: interrupted", file=terminal)
        code = INTERRUPTED
    except OSError as error:
        print(f"{tool}: {error}", file=terminal)
        code = 1
    except Exception:
        traceback.print_exc(file=terminal)
        code = 1
    sys.stdout.flush()
    terminal.flush()
    return code
