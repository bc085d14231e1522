"""Learner and engine on one GPU: tokens per second, memory and agreement, without Ray and without vLLM.

    python benchmarks/gpu.py --json gpu.json                  # one H100 or H200, under five minutes
    python benchmarks/gpu.py --device cpu --quick             # tries the script out; its figures mean nothing

Needs torch and transformers, and either the installed package or the working tree around this file. Models have the
shapes of Qwen2.5 and random weights, the embeddings scaled so that the policy has an entropy of a few nats. The learner
runs under bf16 autocast over float32 weights, as `dtype="bfloat16"` does; the engine's weights are bf16.

Beside the learner's memory stands what `aepo plan` says of it ("planned"; its other half, engines, needs Ray).
Every section has a time limit of its own, and stands in the JSON file as soon as it ends, with its error if it fails.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TREE = Path(__file__).resolve().parent.parent


class OutOfTime(Exception):
    """A section has used up its seconds."""


class Report:
    """What was found, printed row by row and written after every section."""

    def __init__(self, path: str | None, about: dict[str, Any]) -> None:
        self.path, self.content = path, {**about, "sections": {}}
        print(" ".join(f"{name}={value}" for name, value in about.items()), flush=True)

    def section(self, name: str, rows: Iterator[dict[str, Any]], limit_s: float) -> None:
        """Run a section to its end, its error or its limit."""
        found: dict[str, Any] = {"rows": []}
        self.content["sections"][name] = found
        print(f"\n{name}", flush=True)
        start, header = time.perf_counter(), None
        try:
            with _time_limit(limit_s):
                for row in rows:
                    found["rows"].append(row)
                    if tuple(row) != header and "failed" not in row:
                        header = tuple(row)
                        print("  " + " | ".join(header), flush=True)
                    print("  " + " | ".join(map(_shown, row.values())), flush=True)
        except Exception as error:
            found["error"] = f"{type(error).__name__}: {error}"
            print(f"  {found['error']}"[:400], flush=True)
        found["seconds"] = round(time.perf_counter() - start, 1)
        print(f"  ({found['seconds']} s)", flush=True)
        if self.path:
            Path(self.path).write_text(json.dumps(self.content, indent=1) + "\n")


def importable() -> None:
    """Lay the working tree out as the installed package is, where it is not installed."""
    try:
        if importlib.util.find_spec("aepo_rllib.envs"):
            return
    except ModuleNotFoundError:
        pass
    sys.modules.pop("aepo_rllib", None)
    package = Path(tempfile.mkdtemp()) / "aepo_rllib"
    package.mkdir()
    for source in (*(TREE / "aepo_rllib").iterdir(), *(TREE / room for room in ("envs", "eval", "cli"))):
        (package / source.name).symlink_to(source)
    sys.path.insert(0, str(package.parent))


def sections(work: Any) -> Iterator[tuple[str, Callable[[], Iterator[dict[str, Any]]], float]]:
    """Name, rows and seconds of each; what matters most comes first."""
    import gpu_learner
    import gpu_sampling

    small, large = work.shapes[0], work.shapes[-1]
    yield "machine", lambda: machine(work), 20
    for shape in work.shapes:
        yield f"learner {shape}", lambda shape=shape: gpu_learner.learner(work, shape), 95
    yield f"sampling {small}", lambda: gpu_sampling.sampling(work, small), 45
    yield f"log-probs {small}", lambda: gpu_sampling.log_probs(work, small), 45
    yield f"gradient {small}", lambda: gpu_learner.gradient(work, small), 25
    yield f"head {small}", lambda: gpu_learner.head(work, small), 35
    yield f"activations {small}", lambda: gpu_learner.activations(work, small), 30
    if large != small:
        yield f"activations {large}", lambda: gpu_learner.activations(work, large), 30
    yield f"checkpointing {large}", lambda: gpu_learner.checkpointing(work, large), 55
    yield f"transients {small}", lambda: gpu_sampling.transients(work, small), 20


def machine(work: Any) -> Iterator[dict[str, Any]]:
    """The two ceilings: matrix products in bf16, and copies within the device's memory."""
    import torch
    from gpu_models import seconds

    size = 8192 if work.device == "cuda" else 256
    a, b = (torch.randn(size, size, device=work.device, dtype=torch.bfloat16) for _ in range(2))
    product = seconds(work.device, lambda: [a @ b for _ in range(10)]) / 10
    source = torch.randn(size * size * 8, device=work.device)
    copy = seconds(work.device, source.clone)
    yield {
        "bf16 TFLOP/s": round(2 * size**3 / product / 1e12, 1),
        "copy TB/s": round(8 * source.numel() / copy / 1e12, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny shapes")
    parser.add_argument("--json", metavar="FILE", help="where results are written")
    parser.add_argument("--minutes", type=float, default=5.0, help="stop after so many (default: %(default)s)")
    parser.add_argument("--only", default="", help="sections whose names begin so, comma-separated")
    options = parser.parse_args()
    started = time.perf_counter()
    importable()
    import dataclasses

    import torch
    import transformers
    from gpu_models import QUICK, Work

    if options.device == "cpu":
        torch.set_num_threads(1)
    work = dataclasses.replace(QUICK if options.quick else Work(), device=options.device)
    name = torch.cuda.get_device_name() if options.device == "cuda" else platform.processor() or platform.machine()
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    report = Report(options.json, {"device": name, **versions, "work": dataclasses.asdict(work)})
    for section, rows, limit_s in sections(work):
        left = 60 * options.minutes - (time.perf_counter() - started)
        if section.startswith(tuple(options.only.split(","))) and left > 0:
            report.section(section, rows(), min(limit_s, left))


@contextmanager
def _time_limit(limit_s: float) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise OutOfTime(f"after {limit_s:.0f} s")

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
