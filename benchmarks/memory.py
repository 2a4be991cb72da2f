"""Wall time and peak memory of a command with everything that it starts (Ray's processes too).

    python benchmarks/memory.py -- xmr-ray run -c configs/quickstart.yaml

Memory is the sum of proportional set sizes: every shared page is counted once. Samples are taken every half second.
"""

import subprocess
import sys
import time

import psutil


def proportional_mb(process):
    """Memory in MB of a process and all below it."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total / 1e6


def main():
    command = sys.argv[sys.argv.index("--") + 1 :]
    started, peak = time.monotonic(), 0.0
    with subprocess.Popen(command) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                peak = max(peak, proportional_mb(watched))
            except psutil.NoSuchProcess:
                break
            time.sleep(0.5)
    print(f"wall {time.monotonic() - started:.1f} s, peak memory of all processes {peak:.0f} MB, exit status {process.returncode}")


if __name__ == "__main__":
    main()
