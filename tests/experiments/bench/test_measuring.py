"""Clocks count what happens inside, and memory what is held."""

import subprocess
import sys
from pathlib import Path

import torch

from experiments.bench.measuring import Clock, product_rate, this_machine

ROOT = Path(__file__).resolve().parents[3]


def test_a_clock_adds_up_what_it_ran_for() -> None:
    clock = Clock()
    torch.randn(300, 300).matmul(torch.randn(300, 300))
    assert (clock.cpu, clock.wall) == (0.0, 0.0)
    seen = []
    for _ in range(2):
        with clock.running():
            sum(number * number for number in range(20_000))
        seen.append(clock.cpu)
    assert 0 < seen[0] < seen[1]
    assert clock.wall > 0


def test_the_peak_counts_what_was_held_and_given_back() -> None:
    # In a process of its own, as a benchmark is: elsewhere freed memory may be taken up again.
    steps = (
        "import torch",
        "from experiments.bench.measuring import PeakMemory",
        "memory = PeakMemory()",
        "torch.ones(40_000_000).sum()",  # 160 MB
        "print(memory.above())",
    )
    command = [sys.executable, "-c", "; ".join(steps)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    assert 120e6 < float(done.stdout) < 320e6


def test_the_rate_is_a_number_of_operations() -> None:
    assert product_rate(7, 11, 13, seconds=0.001) > 0


def test_the_machine_has_a_name() -> None:
    machine = this_machine()
    assert machine.cpu
    assert machine.cores >= 1
    assert machine.torch == torch.__version__
