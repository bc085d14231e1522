"""The engine's side of `gpu.py`: sampling with the Transformers engine, and its log-probs against the learner's."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from gpu_models import SHAPES, Memory, Work, build, cleared, columns, gib, random_prompts, seconds
from transformers import PreTrainedModel

from aepo_rllib.columns import Columns
from aepo_rllib.models.token_scorer import TokenScorer
from aepo_rllib.objectives.entropy import distribution_moments
from aepo_rllib.rollout import Completion, Prompt, SamplingFilters
from aepo_rllib.rollout.engine import NO_FILTERS
from aepo_rllib.rollout.sampling import draw, sampling_law
from aepo_rllib.rollout.transformers import TransformersEngine

HALF = torch.bfloat16
Rows = Iterator[dict[str, Any]]


def sampling(work: Work, shape: str) -> Rows:
    """Tokens per second of whole groups that never end early, bf16 weights; then the share of the sampling itself."""
    with cleared():
        model = build(shape, work.device).to(HALF)
        engine = TransformersEngine(model)
        prompts = _prompts(work, model)
        memory = Memory(work.device)
        took = seconds(
            work.device,
            lambda: engine.generate(prompts, max_new_tokens=work.new_tokens, stop_ids=[]),
            repeats=1,
        )
        rows = work.prompts * work.group_size
        step = _Step(model.config.vocab_size, rows, work.device)
        drawing = seconds(work.device, lambda: step.all(NO_FILTERS))
        yield {
            "shape": shape,
            "completions": rows,
            "tokens": work.new_tokens,
            "seconds": round(took, 2),
            "tokens/s": round(rows * work.new_tokens / took),
            "ms/token step": round(1e3 * took / work.new_tokens, 2),
            "of it drawing": round(1e3 * drawing, 2),
            "peak GiB": gib(memory.peak()),
            "above weights": gib(memory.extra()),
        }


def transients(work: Work, shape: str) -> Rows:
    """Memory and time of what turns logits into a token, one part at a time."""
    vocabulary = SHAPES[shape][1]
    for rows in (work.prompts * work.group_size, 4 * work.prompts * work.group_size):
        step = _Step(vocabulary, rows, work.device)
        parts: dict[str, Callable[[], Any]] = {
            "log_softmax": step.log_probs,
            "entropy and variance": lambda s=step: distribution_moments(s.logp),
            "law": lambda s=step: s.law(NO_FILTERS),
            "law, top_p 0.95": lambda s=step: s.law(SamplingFilters(top_p=0.95)),
            "draw": lambda s=step: draw(s.probs, s.uniform),
            "all": lambda s=step: s.all(NO_FILTERS),
        }
        for name, part in parts.items():
            with cleared():
                memory = Memory(work.device)
                took = seconds(work.device, part)
                extra = memory.extra()
            yield {
                "rows": rows,
                "part": name,
                "ms": round(1e3 * took, 3),
                "GiB": gib(extra),
                "bytes/logit": None if extra is None else round(extra / rows / vocabulary, 1),
            }


def log_probs(work: Work, shape: str) -> Rows:
    """Log-probs of tokens as the engine drew them, against its own scoring and the learner's."""
    with cleared():
        exact = build(shape, work.device)
        half = copy.deepcopy(exact).to(HALF)
        for precision, model, learner_half in (("bf16", half, HALF), ("float32", exact, None)):
            engine = TransformersEngine(model)
            prompts = _prompts(work, model)
            groups = engine.generate(prompts, max_new_tokens=work.new_tokens // 2, stop_ids=[])
            sampled = [completion for group in groups for completion in group]
            drawn = np.stack([completion.policy_logp for completion in sampled])
            entropy = float(np.mean([completion.entropy for completion in sampled]))
            common = {"precision": precision, "entropy, nats": round(entropy, 2)}
            scored = np.stack(engine.log_probs(_first_of_each(prompts, groups)))
            yield common | {"against": "engine, one by one"} | _gap(drawn[:: work.group_size], scored)
            batch = columns([list(p.token_ids) for p in prompts], [c.token_ids.tolist() for c in sampled], work.device)
            for share in (True, False):
                scorer = TokenScorer(exact, half=learner_half, share_prompts=share)
                with torch.no_grad():
                    logp = scorer(batch)[Columns.POLICY_LOGP].cpu().numpy()
                yield common | {"against": f"learner, {'shared' if share else 'padded'}"} | _gap(drawn, logp)


class _Step:
    """One step's logits, and what the engine does with them."""

    def __init__(self, vocabulary: int, rows: int, device: str) -> None:
        self.logits = torch.randn(rows, vocabulary, device=device) * 4
        self.temperature = torch.ones(rows, device=device)
        self.uniform = torch.rand(rows, device=device, dtype=torch.float64)
        self.logp, self.probs = self.log_probs(), self.law(NO_FILTERS)

    def log_probs(self) -> torch.Tensor:
        return self.logits.log_softmax(-1)

    def law(self, filters: SamplingFilters) -> torch.Tensor:
        return sampling_law(self.logits, self.temperature, filters)

    def all(self, filters: SamplingFilters) -> None:
        """As the engine's `_sample`."""
        logp, law = self.log_probs(), self.law(filters)
        picked = draw(law, self.uniform).unsqueeze(-1)
        torch.stack([logp.gather(-1, picked)[:, 0], law.gather(-1, picked)[:, 0].log(), *distribution_moments(logp)])


def _prompts(work: Work, model: PreTrainedModel) -> list[Prompt]:
    ids = random_prompts(work, model.config.vocab_size)
    return [Prompt(prompt, [(place, key) for key in range(work.group_size)]) for place, prompt in enumerate(ids)]


def _first_of_each(prompts: list[Prompt], groups: list[list[Completion]]) -> list[tuple[list[int], list[int]]]:
    return [(list(p.token_ids), group[0].token_ids.tolist()) for p, group in zip(prompts, groups, strict=True)]


def _gap(drawn: np.ndarray, other: np.ndarray) -> dict[str, Any]:
    gap = np.abs(drawn - other)
    largest = float(gap.max())
    return {
        "mean gap, nats": float(gap.mean()),
        "largest": largest,
        "as a ratio": math.exp(largest),
        "tokens": gap.size,
    }
