"""Child processes that work on an index, to be killed."""

import signal
import subprocess
import sys
import time
from pathlib import Path


def start_child(task, folder, *arguments):
    """Start a task of `tests.retrieval.store.crash` on a folder."""
    command = [sys.executable, "-m", "tests.retrieval.store.crash", task, folder, *arguments]
    root = Path(__file__).parents[3]
    return subprocess.Popen(list(map(str, command)), cwd=root, stdout=subprocess.PIPE, text=True)


def kill_after(task, folder, num_commits, delay_s):
    """Start a child, kill it some time after a number of commits, and return its last commit."""
    child = start_child(task, folder)
    committed = None
    assert child.stdout.readline() == "begun\n"
    for _ in range(num_commits):
        if line := child.stdout.readline():
            committed = line
    time.sleep(delay_s)
    child.send_signal(signal.SIGKILL)
    output, _ = child.communicate()
    commits = [line for line in (committed, *output.splitlines()) if line and "committed" in line]
    return int(commits[-1].split()[1]) if commits else None
