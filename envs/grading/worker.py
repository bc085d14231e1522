"""The worker process: `python -m aepo_rllib.envs.grading.worker LIMIT_S [RULE ...]`.

Protocol: JSON, one object a line. After its imports and a first use of each RULE the worker writes `{"ready": true}`.
Then it answers each request:

    {"id", "gold", "answer", "rule"}                               by {"id", "equal"}
    {"id", "problem", "completion", "tokens", "truncated", "form", "rule"}
                                                                   by {"id", "reward", "correct", "answer"}

where the second RULE names a function of the user's; and either by `{"id", "error"}` when it raised. The worker ends
when its standard input closes, and by itself when one request takes longer than LIMIT_S seconds: a worker that is lost
in a computation would otherwise outlive a parent that was killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from aepo_rllib.envs.completion import SampledText
from aepo_rllib.envs.grading.rewards import Score, load_reward, problem_from_json, score
from aepo_rllib.envs.grading.verifiers import SPELLED, VERIFIERS, get_verifier

MEMORY_LIMIT_BYTES = 2**30
OWN_MEMORY_LIMIT_BYTES = 16 * 2**30
"""Of address space, with a reward function of the user's: numpy and torch reserve much that they never touch."""
RANDOM_SEED = 0


def main() -> None:
    """Serve requests until standard input closes."""
    # Ctrl-C reaches the whole terminal; the parent decides when its workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # An alarm ends the process inside the kernel, even in the middle of one long big-integer operation.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    limit_s = float(sys.argv[1])
    replies = _claim_stdout()
    rules = sys.argv[2:]
    own = [rule for rule in rules if rule != SPELLED and rule not in VERIFIERS]
    _limit_resources(OWN_MEMORY_LIMIT_BYTES if own else MEMORY_LIMIT_BYTES)
    for rule in own:
        get_verifier(rule)
    compare = _load_comparison([rule for rule in rules if rule not in own])
    with contextlib.suppress(BrokenPipeError):  # the parent has gone
        print(json.dumps({"ready": True}), file=replies, flush=True)
        _silence_stderr()
        for line in sys.stdin:
            signal.setitimer(signal.ITIMER_REAL, limit_s)
            reply = _answer(json.loads(line), compare)
            signal.setitimer(signal.ITIMER_REAL, 0)
            print(json.dumps(reply), file=replies, flush=True)
    # Nothing here needs the interpreter's slow way out, which could also fail on a closed pipe.
    os._exit(0)


def _claim_stdout() -> TextIO:
    """Standard output for the protocol alone; whatever a library prints goes to standard error."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return replies


def _silence_stderr() -> None:
    """Standard error matters while the worker starts; later it would only fill the disk."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)
    os.close(devnull)


def _limit_resources(memory_bytes: int) -> None:
    """Cap the address space and write no core files."""
    for kind, limit in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_AS, memory_bytes)):
        with contextlib.suppress(ValueError, OSError):  # macOS refuses RLIMIT_AS; a lower limit may hold already
            resource.setrlimit(kind, (limit, limit))


def _load_comparison(rules: Sequence[str]) -> Callable[[str, str, str], bool]:
    """The rules by name, seeded for each call; those named are warmed up so that the first request pays no set-up."""

    def compare(rule: str, gold: str, answer: str) -> bool:
        from sympy.core.random import seed

        from aepo_rllib.envs.grading.rules import get_rule

        # sympy tests equality at random points; a verdict must not depend on what was graded before.
        seed(RANDOM_SEED)
        return get_rule(rule)(gold, answer)

    for rule in rules:
        compare(rule, r"\frac{1}{2}", "x+0.5")
    return compare


def _answer(request: dict[str, Any], compare: Callable[[str, str, str], bool]) -> dict[str, Any]:
    """The reply to one request."""
    try:
        if "completion" in request:
            return {"id": request["id"], **_reward(request)._asdict()}
        return {"id": request["id"], "equal": compare(request["rule"], request["gold"], request["answer"])}
    except Exception as error:  # any error, of a library or a user's function, must be reported as such
        return {"id": request["id"], "error": f"{type(error).__name__}: {error}"[:500]}


def _reward(request: dict[str, Any]) -> Score:
    told = {name: request[name] for name in ("tokens", "truncated", "form")}
    completion = SampledText(request["completion"], **told)
    return score(load_reward(request["rule"]), completion, problem_from_json(request["problem"]))


if __name__ == "__main__":
    main()
