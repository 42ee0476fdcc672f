"""Runs a tool's work in a child process, because Caffe ends its process on errors.

Caffe calls abort() when a check fails, which Python code cannot catch. The work therefore runs in a child process. The
child's standard error is a log file, for Caffe; the tool's own messages and its progress bar go to the terminal. If
Caffe aborts, the parent finds the reason in the log and prints it in one line.
"""

import os
import pathlib
import re
import signal
import sys
import traceback

# Exit code of a tool that Ctrl-C or SIGTERM has ended.
INTERRUPTED = 130
# si_code of a signal from the kernel (SI_KERNEL), such as Ctrl-C in the terminal. The child gets such a signal itself.
FROM_KERNEL = 0x80


class Problem(Exception):
    """An error that ends the tool. Its text is one line for the user: what is wrong, where, and what to do."""


def run(work, log):
    """Calls work() in a child process, with Caffe's log in the file `log`. Returns the exit code for the tool."""
    tool = pathlib.Path(sys.argv[0]).name
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    sys.stdout.flush()
    sys.stderr.flush()

    # _wait() needs these signals blocked. They are blocked before the fork, so that none of them is lost.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD))
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os._exit(_in_child(work, tool, log))

    code = _wait(child)
    if code < 0:
        reason = fatal(log.read_text(errors="replace")) or f"signal {-code} ({signal.Signals(-code).name})"
        print(f"{tool}: Caffe stopped: {reason}; its log is {log}", file=sys.stderr)
        return 1
    return code


def _wait(child):
    """Waits for the child and returns its exit code, or minus the number of the signal that ended it.

    SIGINT and SIGTERM that were sent to this process only are passed on to the child, which decides how to end.
    """
    while True:
        came = signal.sigwaitinfo((signal.SIGINT, signal.SIGTERM, signal.SIGCHLD))
        if came.si_signo == signal.SIGCHLD:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid == child:
                return os.waitstatus_to_exitcode(status)
        elif came.si_code != FROM_KERNEL:
            os.kill(child, came.si_signo)


def fatal(log):
    """The message of the last fatal entry in a glog log, with its source line; None without such an entry."""
    found = re.findall(r"^F\d+ [^\]]* ([\w.]+:\d+)\] (.*?)\n\*\*\*", log, re.MULTILINE | re.DOTALL)
    return f"{' '.join(found[-1][1].split())} ({found[-1][0]})" if found else None


def _in_child(work, tool, log):
    """Runs work() with standard error redirected to the log, reports its errors, and returns the exit code."""
    terminal = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 2)
    sys.stderr = terminal
    # Log warnings and errors only, unless the user has set the level.
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
