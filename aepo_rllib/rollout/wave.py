"""`Wave`: completions that are sampled together, token by token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from transformers import DynamicCache, PreTrainedModel

from aepo_rllib.objectives.entropy import distribution_moments, tempering_gain
from aepo_rllib.rollout.engine import Completion, Ended, FinishReason, Prompt, SamplingFilters
from aepo_rllib.rollout.sampling import draw, sampling_law, uniforms

LOGITS_AT_ONCE = 2**24
"""Logits that a sampling step works on at a time, at 20 bytes each, 28 with filters: 0.3-0.5 GB, whatever the batch."""
COMPACT_BELOW = 0.75
"""Finished rows are dropped when less than this share of the batch is alive; copying the cache is not free."""


class Row(NamedTuple):
    """A completion to sample: its prompt's place, its own among the prompt's, and its key."""

    prompt: int
    sample: int
    key: tuple[int, ...]


class Wave:
    """The rows that are sampled together, from prefill to the last finished row.

    Rows of the buffers are completions in their final order; `live` maps the rows of the running batch to them.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        cache_argument: str,
        prompts: Sequence[Prompt],
        rows: Sequence[Row],
        max_new_tokens: int,
        stop_ids: Sequence[int],
        filters: SamplingFilters,
        ended: Ended | None = None,
    ) -> None:
        self.model, self.filters, self.max_new_tokens = model, filters, max_new_tokens
        self.rows, self.ended = rows, ended
        self.cache_argument = cache_argument
        device = model.device
        distinct = sorted({row.prompt for row in rows})
        self.prompts = [prompts[index] for index in distinct]
        position = {index: place for place, index in enumerate(distinct)}
        self.prompt_of_row = torch.tensor([position[row.prompt] for row in rows], device=device)
        self.temperature = torch.tensor([prompts[row.prompt].temperature for row in rows], device=device)
        self.uniforms = uniforms([row.key for row in rows], max_new_tokens).to(device)
        self.stop_ids = torch.tensor(list(stop_ids), device=device)
        shape = (len(rows), max_new_tokens)
        self.tokens = torch.zeros(shape, dtype=torch.long, device=device)
        self.figures = torch.zeros((5, *shape), device=device)
        self.length = torch.full((len(rows),), max_new_tokens, device=device)
        self.stopped = torch.zeros(len(rows), dtype=torch.bool, device=device)

    @torch.inference_mode()
    def run(self) -> list[Completion]:
        """Sample every row to its end."""
        logits = self._prefill()
        for step in range(self.max_new_tokens):
            tokens = self._sample(step, logits)
            self._end(step, tokens)
            alive = ~self.stopped[self.live]
            alive_count = int(alive.sum())
            if alive_count == 0 or step + 1 == self.max_new_tokens:
                break
            if alive_count < COMPACT_BELOW * len(self.live):
                tokens = self._drop_finished(alive.nonzero().squeeze(-1), tokens)
            logits = self._advance(tokens)
        self._tell((~self.stopped).nonzero().squeeze(-1), FinishReason.LENGTH)
        return list(self._completions())

    def _prefill(self) -> torch.Tensor:
        """Run every distinct prompt once, then repeat its cache and last logits for its rows."""
        device, rows = self.model.device, self.prompt_of_row
        lengths = torch.tensor([len(prompt.token_ids) for prompt in self.prompts])
        width = int(lengths.max())
        ids = torch.tensor([[0] * (width - len(p.token_ids)) + list(p.token_ids) for p in self.prompts])
        positions = torch.arange(width) - (width - lengths).unsqueeze(-1)
        real = positions >= 0
        # Without padding no mask is needed, and attention takes its faster path.
        mask = None if real.all() else real.long().to(device)
        self.cache = DynamicCache(config=self.model.config)
        logits = self.model(
            input_ids=ids.to(device),
            attention_mask=mask,
            position_ids=positions.clamp_min(0).to(device),
            use_cache=True,
            **{self.cache_argument: self.cache},
            logits_to_keep=1,
        ).logits[:, -1]
        self.cache.reorder_cache(rows)
        self.live = torch.arange(len(rows), device=device)
        self.mask = None if mask is None else mask[rows]
        self.positions = lengths.to(device)[rows]
        return logits[rows]

    def _sample(self, step: int, logits: torch.Tensor) -> torch.Tensor:
        """Draw one token for every live row and note its figures, over slices of rows."""
        slices = -(-logits.numel() // LOGITS_AT_ONCE)
        parts = zip(self.live.tensor_split(slices), logits.tensor_split(slices), strict=True)
        return torch.cat([self._draw(step, rows, part) for rows, part in parts])

    def _end(self, step: int, tokens: torch.Tensor) -> None:
        """Note which live rows end with these tokens; one that is still in the batch goes on, and is never read."""
        rows = self.live[torch.isin(tokens, self.stop_ids) & ~self.stopped[self.live]]
        self.length[rows] = step + 1
        self.stopped[rows] = True
        self._tell(rows, FinishReason.EOS)

    def _tell(self, rows: torch.Tensor, reason: FinishReason) -> None:
        if self.ended is None or not len(rows):
            return
        told = zip(rows.tolist(), self.length[rows].tolist(), self.tokens[rows].cpu().numpy(), strict=True)
        with torch.inference_mode(False):  # what is told may do as it likes
            for row, length, tokens in told:
                self.ended(self.rows[row].prompt, self.rows[row].sample, tokens[:length], reason)

    def _draw(self, step: int, rows: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Draw one token for each of these rows and note its figures."""
        logits = logits.float()
        law = sampling_law(logits, self.temperature[rows], self.filters)
        tokens = draw(law, self.uniforms[rows, step])
        picked = tokens.unsqueeze(-1)
        behavior_logp = law.gather(-1, picked).squeeze(-1).log()
        del law
        policy = logits.log_softmax(-1)
        policy_logp = policy.gather(-1, picked).squeeze(-1)
        self.tokens[rows, step] = tokens
        figures = [policy_logp, behavior_logp, *distribution_moments(policy), tempering_gain(policy)]
        self.figures[:, rows, step] = torch.stack(figures)
        return tokens

    def _drop_finished(self, kept: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Shrink the running batch to the rows at `kept`."""
        self.cache.reorder_cache(kept)
        self.live, self.positions = self.live[kept], self.positions[kept]
        self.mask = None if self.mask is None else self.mask[kept]
        return tokens[kept]

    def _advance(self, tokens: torch.Tensor) -> torch.Tensor:
        """One forward pass: the logits that follow `tokens`."""
        if self.mask is not None:
            self.mask = torch.cat([self.mask, torch.ones_like(self.mask[:, :1])], dim=1)
        logits = self.model(
            input_ids=tokens.unsqueeze(-1),
            attention_mask=self.mask,
            position_ids=self.positions.unsqueeze(-1),
            use_cache=True,
            **{self.cache_argument: self.cache},
        ).logits[:, -1]
        self.positions = self.positions + 1
        return logits

    def _completions(self) -> Iterator[Completion]:
        tokens, figures = self.tokens.cpu().numpy(), self.figures.cpu().numpy()
        lengths, stopped = self.length.tolist(), self.stopped.tolist()
        for row, (length, eos) in enumerate(zip(lengths, stopped, strict=True)):
            policy_logp, behavior_logp, entropy, variance, gain = figures[:, row, :length].copy()
            yield Completion(
                token_ids=tokens[row, :length].copy(),
                policy_logp=policy_logp,
                behavior_logp=behavior_logp,
                entropy=entropy,
                logit_variance=variance,
                tempering_gain=gain,
                finish_reason=FinishReason.EOS if eos else FinishReason.LENGTH,
            )
