"""`TransformersEngine`: a decode loop over any Hugging Face causal LM.

What makes it faster than `generate()` is work avoided: every distinct prompt is prefilled once and its cache
repeated per group, finished rows leave the batch, and log-probs and entropies are taken from the logits that
sampling needs anyway, so that no scoring pass follows.

Attention ignores what is padded; recurrent layers may not. Whether a model does is tried out, once, on its own weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any, ClassVar

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel

from aepo_rllib.models.attention import avoid_cudnn_attention
from aepo_rllib.models.hf import ModelError, as_tensors, load_model, reason_of
from aepo_rllib.models.model_cache import cache_argument
from aepo_rllib.objectives.entropy import distribution_moments, token_statistics
from aepo_rllib.rollout.engine import NO_FILTERS, Completion, FinishReason, Prompt, RolloutEngine, SamplingFilters
from aepo_rllib.rollout.sampling import draw, sampling_law, uniforms
from aepo_rllib.support.options import Option, count

COMPACT_BELOW = 0.75
"""Finished rows are dropped when less than this share of the batch is alive; copying the cache is not free."""
SAMPLING_BOUND = {8: 0.01, 4: 0.01, 2: 0.5}
"""Largest mean difference of log-probs, by bytes of a weight, between sampling and scoring the same tokens.

Rounding stays far below; a lost or polluted state is off by whole nats.
"""


class TransformersEngine(RolloutEngine):
    """Samples with the model it is given, in this process.

    Args:
        model: A causal LM with a `DynamicCache`.
        max_rows: Most completions sampled at a time; bounds memory.

    Raises:
        aepo_rllib.models.hf.ModelError: sampled tokens would not have the log-probs that the model gives them.
    """

    OPTIONS: ClassVar[dict[str, Option]] = {"max_rows": count()}
    exact_entropy = True
    reproducible = True

    def __init__(self, model: PreTrainedModel, *, max_rows: int = 1024) -> None:
        avoid_cudnn_attention()
        self.model = model.eval()
        self.max_rows = max_rows
        self._device = model.device
        self.context_length = getattr(model.config, "max_position_embeddings", None)
        try:
            self._cache_argument = cache_argument(model)
        except ValueError as error:
            raise ModelError(str(error)) from error
        self._check_sampling()

    @classmethod
    def from_pretrained(
        cls, model: str, *, dtype: str = "float32", device: str = "cpu", **options: Any
    ) -> TransformersEngine:
        """See `RolloutEngine.from_pretrained`; `options` are the constructor's."""
        return cls(load_model(model, dtype=dtype).to(device), **options)

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int,
        stop_ids: Sequence[int],
        filters: SamplingFilters = NO_FILTERS,
    ) -> list[list[Completion]]:
        """See `RolloutEngine.generate`."""
        self.check(prompts, max_new_tokens)
        completions: list[list[Completion]] = [[] for _ in prompts]
        for wave in self._waves(prompts):
            sampled = _Wave(self.model, self._cache_argument, prompts, wave, max_new_tokens, stop_ids, filters).run()
            for (index, _), completion in zip(wave, sampled, strict=True):
                completions[index].append(completion)
        return completions

    def _waves(self, prompts: Sequence[Prompt]) -> Iterator[list[tuple[int, tuple[int, ...]]]]:
        """(prompt index, key) of the completions that are sampled together."""

        def size(index: int) -> int:
            return 0 if self._pads_prompts else len(prompts[index].token_ids)

        for _, alike in groupby(sorted(range(len(prompts)), key=size), key=size):
            rows = ((index, key) for index in alike for key in prompts[index].keys)
            while wave := list(islice(rows, self.max_rows)):
                yield wave

    def update_weights(self, weights: Iterable[tuple[str, torch.Tensor]], *, version: int) -> None:
        """See `RolloutEngine.update_weights`."""
        self._check_awake()
        self.model.load_state_dict(as_tensors(dict(weights)), strict=True)
        self.weights_version = version

    @torch.inference_mode()
    def log_probs(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[np.ndarray]:
        """See `RolloutEngine.log_probs`. One row at a time: plain, and free of padding."""
        self._check_awake()
        result = []
        for prompt_ids, completion_ids in sequences:
            ids = torch.tensor([[*prompt_ids, *completion_ids]], device=self.model.device)
            logits = self.model(input_ids=ids[:, :-1]).logits[:, len(prompt_ids) - 1 :]
            result.append(token_statistics(logits, ids[:, len(prompt_ids) :], reads=()).logp[0].cpu().numpy())
        return result

    def _sleep(self) -> None:
        self.model.to("cpu")
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _wake(self) -> None:
        self.model.to(self._device)

    def _check_sampling(self) -> None:
        """Find out on a few tokens whether prompts of unequal length can be padded, and whether sampling works at all.

        Raises:
            ModelError: it does not.
        """
        bound = SAMPLING_BOUND[self.model.dtype.itemsize]
        for self._pads_prompts in (True, False):
            try:
                off = self._sampling_error()
                reason = f"sampled tokens would have log-probs that are off by {off:.2g} on average"
            except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
                off, reason = math.inf, f"{type(error).__name__}: {reason_of(error)}"
            if off <= bound:
                return
        raise ModelError(f"models of type {self.model.config.model_type!r} cannot be sampled from here: {reason}")

    def _sampling_error(self) -> float:
        """Mean difference between the log-probs of sampled tokens and `log_probs` of the same."""
        vocabulary = self.model.get_input_embeddings().weight.shape[0]
        prompts = [
            Prompt([(7 * place + 3) % vocabulary for place in range(length)], [(length, 0), (length, 1)])
            for length in (5, 2)
        ]
        groups = self.generate(prompts, max_new_tokens=3, stop_ids=[])
        pairs = [(prompt, completion) for prompt, group in zip(prompts, groups, strict=True) for completion in group]
        scored = self.log_probs([(prompt.token_ids, completion.token_ids.tolist()) for prompt, completion in pairs])
        sampled, exact = np.concatenate([completion.policy_logp for _, completion in pairs]), np.concatenate(scored)
        # Weights that are NaN are not the cache's fault.
        return float(np.where(np.isnan(exact), 0, np.abs(sampled - exact)).mean())


class _Wave:
    """The rows that are sampled together, from prefill to the last finished row.

    Rows of the buffers are completions in their final order; `live` maps the rows of the running batch to them.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        cache_argument: str,
        prompts: Sequence[Prompt],
        rows: Sequence[tuple[int, tuple[int, ...]]],
        max_new_tokens: int,
        stop_ids: Sequence[int],
        filters: SamplingFilters,
    ) -> None:
        self.model, self.filters, self.max_new_tokens = model, filters, max_new_tokens
        self.cache_argument = cache_argument
        device = model.device
        distinct = sorted({index for index, _ in rows})
        self.prompts = [prompts[index] for index in distinct]
        position = {index: place for place, index in enumerate(distinct)}
        self.prompt_of_row = torch.tensor([position[index] for index, _ in rows], device=device)
        self.temperature = torch.tensor([prompts[index].temperature for index, _ in rows], device=device)
        self.uniforms = uniforms([key for _, key in rows], max_new_tokens).to(device)
        self.stop_ids = torch.tensor(list(stop_ids), device=device)
        shape = (len(rows), max_new_tokens)
        self.tokens = torch.zeros(shape, dtype=torch.long, device=device)
        self.figures = torch.zeros((4, *shape), device=device)
        self.length = torch.full((len(rows),), max_new_tokens, device=device)
        self.stopped = torch.zeros(len(rows), dtype=torch.bool, device=device)

    @torch.inference_mode()
    def run(self) -> list[Completion]:
        """Sample every row to its end."""
        logits = self._prefill()
        for step in range(self.max_new_tokens):
            tokens = self._sample(step, logits)
            alive = ~self.stopped[self.live]
            alive_count = int(alive.sum())
            if alive_count == 0 or step + 1 == self.max_new_tokens:
                break
            if alive_count < COMPACT_BELOW * len(self.live):
                tokens = self._drop_finished(alive.nonzero().squeeze(-1), tokens)
            logits = self._advance(tokens)
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
        """Draw one token for every live row and note its figures."""
        live, logits = self.live, logits.float()
        policy_logp = logits.log_softmax(-1)
        law = sampling_law(logits, self.temperature[live], self.filters)
        tokens = draw(law, self.uniforms[live, step])
        picked = tokens.unsqueeze(-1)
        self.tokens[live, step] = tokens
        self.figures[:, live, step] = torch.stack(
            [
                policy_logp.gather(-1, picked).squeeze(-1),
                law.gather(-1, picked).squeeze(-1).log(),
                *distribution_moments(policy_logp),
            ]
        )
        # A finished row that is still in the batch goes on sampling; what it samples is never read.
        ended = live[torch.isin(tokens, self.stop_ids) & ~self.stopped[live]]
        self.length[ended] = step + 1
        self.stopped[ended] = True
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
            policy_logp, behavior_logp, entropy, variance = figures[:, row, :length].copy()
            yield Completion(
                token_ids=tokens[row, :length].copy(),
                policy_logp=policy_logp,
                behavior_logp=behavior_logp,
                entropy=entropy,
                logit_variance=variance,
                finish_reason=FinishReason.EOS if eos else FinishReason.LENGTH,
            )
