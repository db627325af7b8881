"""Commands print what they have to say and nothing else."""

import subprocess
import sys
from pathlib import Path


def test_no_library_warns_in_a_whole_run(model_folder: Path, task_file: Path, out: Path) -> None:
    command = [sys.executable, "-m", "saecircuits", "discover", str(task_file)]
    asked = ["--model", str(model_folder), "--out", str(out), "--nodes", "4", "--max-nodes", "12"]
    done = subprocess.run([*command, *asked], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode == 0
    assert "held-out prompts" in done.stdout
