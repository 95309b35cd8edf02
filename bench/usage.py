"""Resource usage of a process, as the kernel counts it (proc(5))."""

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu(pid: int) -> float:
    """Return the CPU seconds of a process and of its reaped children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / _TICKS


def tree_cpu(pid: int) -> float:
    """Return the CPU seconds of a process and of all its descendants, running or reaped."""
    try:
        children = Path(f"/proc/{pid}/task").glob("*/children")
        pids = [int(child) for file in children for child in file.read_text().split()]
        return cpu(pid) + sum(map(tree_cpu, pids))
    except FileNotFoundError:
        return 0.0  # it has just ended, and its time is now its parent's


def peak(pid: int) -> float:
    """Return the peak resident memory of a process in MiB (VmHWM)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [line] = [line for line in lines if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


def forget_peak(pid: int) -> None:
    """Reset the peak memory of a process."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
