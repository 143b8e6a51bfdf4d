"""Contestants that take turns, each in a process of its own, so that its peak memory is its own."""

import math
import multiprocessing
from pathlib import Path

import torch
from clock import timed


def race(contestants, rounds):
    """Best seconds, peak memory in MiB and problem of each, one at work at a time.

    Args:
        contestants: For each key a function that builds, and its arguments; it returns the work
            of a turn, which takes none. Both must be importable by name.
        rounds: Turns of each, after one to warm up.
    """
    processes = {key: Process(*contestant) for key, contestant in contestants.items()}
    for _ in range(rounds):
        for process in processes.values():
            if process.problem is None:
                process.take_turn()
    return {
        key: (process.seconds, process.end(), process.problem) for key, process in processes.items()
    }


class Process:
    """A contestant in a process of its own."""

    def __init__(self, build, *arguments):
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=contest, args=(theirs, build, *arguments))
        self._process.start()
        self.problem = self._connection.recv()
        self.seconds = math.inf

    def take_turn(self):
        try:
            self._connection.send(True)
            self.seconds = min(self.seconds, self._connection.recv())
        except (EOFError, OSError):
            self.problem = "was killed, most likely for want of memory"

    def end(self):
        """Peak memory in MiB, above what was there when all was built."""
        if self.problem is not None:
            self._process.join()
            return math.nan
        self._connection.send(False)
        memory = self._connection.recv()
        self._process.join()
        return memory


def contest(connection, build, *arguments):
    """One contestant: builds, warms up, then a round for each message; its last word is memory."""
    try:
        work = build(*arguments)
        before = reset_peak()
        work()
        synchronize()
        connection.send(None)
    except Exception as error:  # a peer may fail at anything
        connection.send(f"{type(error).__name__}: {str(error).splitlines()[0]}")
        return
    while connection.recv():
        connection.send(timed(lambda: (work(), synchronize())))
    connection.send((peak() - before) / 2**20)


def device():
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def synchronize():
    if device().type == "cuda":
        torch.cuda.synchronize()


def reset_peak():
    """Forget the most memory that this process ever had; bytes that it has now."""
    if device().type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")


def peak():
    return torch.cuda.max_memory_allocated() if device().type == "cuda" else resident("VmHWM")


def resident(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))
