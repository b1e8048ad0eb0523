"""The time of ``import daskjob``, and of its class ``KubeCluster`` beyond that of distributed.

It is CPU time in new processes, the least of several, beside the bound of each.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

SCRIPT = """
import time
{before}
began = time.process_time()
{statement}
print(time.process_time() - began)
"""
#: What is measured, with what is imported before, and its bound in seconds.
IMPORTS = (
    ("import daskjob", "", 0.05),
    ("from daskjob import KubeCluster", "import distributed", 0.4),
)


def main() -> None:
    """Measure both, and print them with their bounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="processes of each import")
    options = parser.parse_args()
    for statement, before, bound in IMPORTS:
        seconds = min(measured(statement, before) for _ in range(options.rounds))
        word = "within" if seconds <= bound else "OVER"
        print(f"{statement}: {seconds:.3f} s of CPU, {word} its bound of {bound} s")


def measured(statement: str, before: str) -> float:
    """Return the CPU seconds of a statement in a new process."""
    script = SCRIPT.format(statement=statement, before=before)
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True)
    return float(done.stdout)


if __name__ == "__main__":
    main()
