"""A rollout engine of your own: one forward pass over the whole text for every token, and no cache.

    aepo train --engine examples/own_engine.py:PlainEngine --steps 20
    aepo eval --engine examples/own_engine.py:PlainEngine --n 4

It keeps every promise of docs/extending/engine.md, and is slow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from transformers import PreTrainedModel

from aepo_rllib.models.hf import load_model
from aepo_rllib.models.named_weights import copy_weights
from aepo_rllib.objectives.entropy import distribution_moments
from aepo_rllib.rollout import Completion, FinishReason, Prompt, RolloutEngine, SamplingFilters
from aepo_rllib.rollout.engine import NO_FILTERS
from aepo_rllib.rollout.sampling import draw, sampling_law, uniforms
from aepo_rllib.support.options import Option, count


class PlainEngine(RolloutEngine):
    """Samples with the learner's own kind of model.

    Args:
        model: Any causal language model.
        max_rows: Most completions sampled at a time.
    """

    OPTIONS: ClassVar[dict[str, Option]] = {"max_rows": count()}
    exact_entropy = reproducible = True

    def __init__(self, model: PreTrainedModel, *, max_rows: int = 256) -> None:
        self.model, self.max_rows = model.eval(), max_rows
        self.context_length = getattr(model.config, "max_position_embeddings", None)

    @classmethod
    def from_pretrained(cls, model: str, *, dtype: str = "float32", device: str = "cpu", **options: Any) -> PlainEngine:
        return cls(load_model(model, dtype=dtype).to(device), **options)

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int,
        stop_ids: Sequence[int],
        filters: SamplingFilters = NO_FILTERS,
    ) -> list[list[Completion]]:
        self.check(prompts, max_new_tokens)
        groups: list[list[Completion]] = [[] for _ in prompts]
        for prompt, group in zip(prompts, groups, strict=True):
            for first in range(0, len(prompt.keys), self.max_rows):
                rows = Prompt(prompt.token_ids, prompt.keys[first : first + self.max_rows], prompt.temperature)
                group += self._rows(rows, max_new_tokens, list(stop_ids), filters)
        return groups

    def _rows(
        self, prompt: Prompt, max_new_tokens: int, stop_ids: list[int], filters: SamplingFilters
    ) -> list[Completion]:
        rows, device = len(prompt.keys), self.model.device
        ids_BT = torch.tensor([list(prompt.token_ids)] * rows, device=device)
        temperature_B = torch.full((rows,), prompt.temperature, device=device)
        uniforms_BN = uniforms(prompt.keys, max_new_tokens).to(device)  # of each completion's own key alone
        ended_B1 = torch.zeros(rows, 1, dtype=torch.bool, device=device)
        figures = []
        for step in range(max_new_tokens):
            logits_BV = self.model(input_ids=ids_BT, use_cache=False).logits[:, -1].float()
            law_BV = sampling_law(logits_BV, temperature_B, filters)  # what tokens are drawn from
            policy_BV = logits_BV.log_softmax(-1)  # T = 1, no filters
            token_B1 = draw(law_BV, uniforms_BN[:, step]).unsqueeze(-1)
            ids_BT = torch.cat([ids_BT, token_B1], dim=1)
            drawn = policy_BV.gather(-1, token_B1)[:, 0], law_BV.gather(-1, token_B1)[:, 0].log()
            figures.append(torch.stack([*drawn, *distribution_moments(policy_BV)]))
            ended_B1 |= torch.isin(token_B1, torch.tensor(stop_ids, device=device))
            if ended_B1.all():
                break
        tokens = ids_BT[:, len(prompt.token_ids) :].tolist()
        figures_B4N = torch.stack(figures, dim=-1).transpose(0, 1).cpu().numpy()
        return [_completion(*row, stop_ids) for row in zip(tokens, figures_B4N, strict=True)]

    def update_weights(self, weights: Mapping[str, torch.Tensor], *, version: int) -> None:
        self._check_awake()
        copy_weights(self.model, weights)
        self.weights_version = version

    @torch.inference_mode()
    def log_probs(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[np.ndarray]:
        self._check_awake()
        found = []
        for prompt, completion in sequences:
            ids_1T = torch.tensor([[*prompt, *completion]], device=self.model.device)
            logp_NV = self.model(input_ids=ids_1T[:, :-1]).logits[0, len(prompt) - 1 :].float().log_softmax(-1)
            found.append(logp_NV.gather(-1, ids_1T[0, len(prompt) :, None])[:, 0].cpu().numpy())
        return found


def _completion(tokens: list[int], figures_4N: np.ndarray, stop_ids: list[int]) -> Completion:
    """A row up to its first stop id."""
    end = next((place for place, token in enumerate(tokens) if token in stop_ids), None)
    length = len(tokens) if end is None else end + 1
    policy_logp, behavior_logp, entropy, variance = figures_4N[:, :length].copy()
    return Completion(
        token_ids=np.array(tokens[:length], dtype=np.int64),
        policy_logp=policy_logp,
        behavior_logp=behavior_logp,
        entropy=entropy,
        logit_variance=variance,
        finish_reason=FinishReason.LENGTH if end is None else FinishReason.EOS,
    )
