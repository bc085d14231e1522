"""Wrong commands, as people type them: how long each takes to say what is wrong, and what it says.

    python benchmarks/wrong_commands.py                # about half a minute on a quiet core
    python benchmarks/wrong_commands.py --most 0.5     # exits with 1 where one that needs no model takes longer

Every command has to end with exit code 2 and one line on standard error that begins with "Error:", without a traceback.
Commands behind LOADS look into a model or a batch first and load torch for it.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROWS = """
trian
train --step 10
train --steps 0
train --steps -5
train --steps ten
train --batch-size 0
train --group-size 1.5
train --algo gppo
train --algo mine.py:Config
train --algo nothing:Config
train --target-entropy abc
train --target-entropy 0
train --target-entropy -1x
train --engine vlm
train --engine vllm
train --model ./nomodel
train --model embeded
train --problems nofile.jsonl
train --problems countdown9
train --problems countdown3=x
train --problems rows.jsonl
train --problems broken.jsonl
train --template boxd
train --template nofile.yaml
train --seed x
train --config nofile.yaml
train --config broken.yaml
train --config recipe:qwen
train --set learning_rate=1e-4
train --set num_generations=8
train --set lr=abc
train --set lr=-1
train --set lr
train --set group_sise=3
train --set controller=swich
train --set env_config.template=boxd
train --set env_config.problms=x
train --set evaluation_interval=often
train --set wandb=true
train --set report_to=wandb
train --track wandbb
train --track nothing:Class
train --output rows.jsonl
train --resume nofolder
train --resume .
plan --set group_sise=3
plan --gpus x
eval nomodel/
eval --n 0
eval --suite aime99
eval --suite nofile.yaml
eval --problems nofile.jsonl
eval --temperature -1
eval --template boxd
eval --k 1,x
eval --grader no-such
compare
compare nofolder other
compare . .
plot nofolder
regrade nofolder
study quikstart
study nofile.yaml
study quickstart --only figure9
tune --space lr
tune --space lr=normal
tune --space lr=uniform(1,0)
problems nofile.jsonl
problems rows.jsonl --fields problem=question
problems rows.jsonl --fields nothing
methods gppo
doctor ./nomodel
export nofolder out
pretrain --steps 0
tasks nosuite
-q -v train
train -q -v
"""
LOADS = """
train --target-entropy 5x --dry-run
train --set max_new_tokens=5000 --dry-run
train --set curriculum_steps=10 --dry-run
train --set num_learners=3 --set batch_size=2 --dry-run
"""
FILES = {
    "rows.jsonl": '{"question": "Add 1 2.", "result": "3"}\n',
    "broken.jsonl": '{"problem": "Add 1 2.", "answer": "3"}\n{"problem": \n',
    "broken.yaml": "steps: [\n",
}


class Outcome(NamedTuple):
    """What a command did."""

    command: str
    seconds: float
    code: int
    shown: str

    @property
    def fine(self) -> bool:
        """Refused in one line."""
        return self.code == 2 and self.last.startswith("Error: ") and "Traceback" not in self.shown

    @property
    def last(self) -> str:
        """The line that tells."""
        return (self.shown.strip().splitlines() or [""])[-1]


def outcome_of(command: str, folder: str) -> Outcome:
    """Run it."""
    began = time.monotonic()
    words = [sys.executable, "-m", "aepo_rllib.cli.main", *command.split()]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    return Outcome(command, time.monotonic() - began, done.returncode, done.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=float, help="Seconds that a command may take that needs no model.")
    most = parser.parse_args().most
    with tempfile.TemporaryDirectory() as folder:
        for name, text in FILES.items():
            (Path(folder) / name).write_text(text)
        quick, slow = ([outcome_of(command, folder) for command in rows.strip().splitlines()] for rows in (ROWS, LOADS))
    for outcome in [*quick, *slow]:
        mark = " " if outcome.fine else "!"
        print(f"{mark} {outcome.seconds:5.2f} s  {outcome.code}  aepo {outcome.command}\n             {outcome.last}")
    times = sorted(outcome.seconds for outcome in quick)
    bad = [outcome for outcome in [*quick, *slow] if not outcome.fine]
    late = [outcome for outcome in quick if most is not None and outcome.seconds > most]
    print(
        f"\n{len(quick)} commands that need no model: median {times[len(times) // 2]:.2f} s, longest {times[-1]:.2f} s"
    )
    print(f"{len(quick) + len(slow) - len(bad)} of {len(quick) + len(slow)} are refused in one line")
    for outcome in late:
        print(f"late: aepo {outcome.command}: {outcome.seconds:.2f} s")
    if bad or late:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
