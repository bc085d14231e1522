"""`TokenStatistics` from hidden states, whose logits exist for a few tokens at a time.

A vocabulary of 152,000 makes logits the largest tensor of a training step: with log-probs, entropies and gradients some
28 bytes per token and vocabulary entry. Here the head runs over slices of tokens, keeps three numbers a token, and
computes the logits of a slice again in the backward pass: memory no longer grows with the number of tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import torch

from aepo_rllib.objectives.entropy import TokenStatistics, core_log_probs, distribution_moments, exact_entropy, heated

SLICE_LOGITS = 2**24
"""Most logits that are there at a time; a few tensors of this size are, so 0.3 GB."""


def head_statistics(
    hidden_KD: torch.Tensor,
    weight_VD: torch.Tensor,
    bias_V: torch.Tensor | None,
    token_ids_K: torch.Tensor,
    reads: Collection[str] = ("entropy", "logit_variance"),
    *,
    temperature: float | torch.Tensor = 1.0,
    slice_logits: int = SLICE_LOGITS,
) -> TokenStatistics:
    """As `entropy.token_statistics` of `hidden_KD @ weight_VD.T + bias_V`, in float32 (float64 of float64 states).

    Args:
        hidden_KD: Last hidden states: matrix products run in their dtype.
        weight_VD: Of the output head, and of any dtype: it is cast when it is needed, and its gradient never.
        bias_V: Likewise, if it has one.
        token_ids_K: The tokens.
        reads: Fields of `TokenStatistics` that are computed beside `logp`.
        temperature: Of `heated_logp`; one for all tokens, or one each.
        slice_logits: Most logits at a time.
    """
    apply: Callable[..., tuple[torch.Tensor | None, ...]] = _Head.apply
    logp, *others = apply(hidden_KD, weight_VD, bias_V, token_ids_K, frozenset(reads), temperature, slice_logits)
    assert logp is not None
    return TokenStatistics(logp, *others)


class _Head(torch.autograd.Function):
    """Gradients reach hidden states, weight and bias through `logp` and what else is read, but `logit_variance`."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_KD: torch.Tensor,
        weight_VD: torch.Tensor,
        bias_V: torch.Tensor | None,
        token_ids_K: torch.Tensor,
        reads: frozenset[str],
        temperature: float | torch.Tensor,
        slice_logits: int,
    ) -> tuple[torch.Tensor | None, ...]:
        figures: dict[str, torch.Tensor] = {
            name: hidden_KD.new_empty(len(token_ids_K), dtype=_wide(hidden_KD.dtype))
            for name in TokenStatistics._fields
            if name in reads or name == "logp"
        }
        head = _cast(weight_VD, bias_V, hidden_KD.dtype)
        for part in _slices(hidden_KD, weight_VD, slice_logits):
            logp_KV = _log_probs(hidden_KD[part], *head)
            figures["logp"][part] = logp_KV.gather(-1, token_ids_K[part, None])[:, 0]
            if "heated_logp" in reads:
                figures["heated_logp"][part] = heated(logp_KV, figures["logp"][part], _of(temperature, part))
            if "core_entropy" in reads:
                figures["core_entropy"][part] = exact_entropy(core_log_probs(logp_KV))
            if "logit_variance" in reads:
                entropy_K, figures["logit_variance"][part] = distribution_moments(logp_KV)
                if "entropy" in reads:
                    figures["entropy"][part] = entropy_K
            elif "entropy" in reads:
                p_KV = logp_KV.exp()
                figures["entropy"][part] = -torch.linalg.vecdot(p_KV, logp_KV.masked_fill_(p_KV == 0, 0.0))
        ctx.save_for_backward(hidden_KD, weight_VD, bias_V, token_ids_K, figures.get("entropy"))
        ctx.slice_logits, ctx.temperature = slice_logits, temperature
        if "logit_variance" in figures:
            ctx.mark_non_differentiable(figures["logit_variance"])
        return tuple(figures.get(name) for name in TokenStatistics._fields)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        hidden_KD, weight_VD, bias_V, token_ids_K, entropy_K = ctx.saved_tensors
        d_logp_K, d_entropy_K, _, d_heated_K, d_core_K = gradients
        wide, head = _wide(hidden_KD.dtype), _cast(weight_VD, bias_V, hidden_KD.dtype)
        d_hidden_KD = torch.empty_like(hidden_KD)
        learns, bias_learns = ctx.needs_input_grad[1:3]
        # Sums of many slices are lost in 16 bits.
        d_weight_VD = torch.zeros_like(weight_VD, dtype=wide) if learns else None
        d_bias_V = torch.zeros_like(bias_V, dtype=wide) if bias_learns else None
        for part in _slices(hidden_KD, weight_VD, ctx.slice_logits):
            logp_KV = _log_probs(hidden_KD[part], *head)
            d_others = [] if d_core_K is None else [_entropy_slope(core_log_probs(logp_KV), d_core_K[part])]
            if d_heated_K is not None:
                d_others.append(_heated_slope(logp_KV, token_ids_K[part], _of(ctx.temperature, part), d_heated_K[part]))
            d_KV = logp_KV.exp()
            if d_entropy_K is None or entropy_K is None:
                d_KV.mul_(-_column(d_logp_K, part, d_KV))
            else:  # d H / d z = -p (log p + H)
                inner_KV = logp_KV.masked_fill_(d_KV == 0, 0.0).add_(entropy_K[part, None])
                d_KV.mul_(inner_KV.mul_(-d_entropy_K[part, None]).sub_(_column(d_logp_K, part, d_KV)))
            if d_logp_K is not None:
                d_KV.scatter_add_(-1, token_ids_K[part, None], d_logp_K[part, None])
            for d_other_KV in d_others:
                d_KV.add_(d_other_KV)
            if d_bias_V is not None:
                d_bias_V += d_KV.sum(0)
            d_KV = d_KV.to(hidden_KD.dtype)
            d_hidden_KD[part] = d_KV @ head[0]
            if d_weight_VD is None:
                continue
            if d_weight_VD.dtype == hidden_KD.dtype:
                d_weight_VD.addmm_(d_KV.T, hidden_KD[part])
            else:
                d_weight_VD += d_KV.T @ hidden_KD[part]
        d_weight_VD = None if d_weight_VD is None else d_weight_VD.to(weight_VD.dtype)
        d_bias_V = None if d_bias_V is None else d_bias_V.to(bias_V.dtype)
        return d_hidden_KD, d_weight_VD, d_bias_V, None, None, None, None


def _cast(
    weight_VD: torch.Tensor, bias_V: torch.Tensor | None, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor | None]:
    return weight_VD.to(dtype), None if bias_V is None else bias_V.to(dtype)


def _slices(hidden_KD: torch.Tensor, weight_VD: torch.Tensor, slice_logits: int) -> Iterator[slice]:
    size = max(1, slice_logits // len(weight_VD))
    return (slice(start, start + size) for start in range(0, len(hidden_KD), size))


def _log_probs(hidden_KD: torch.Tensor, weight_VD: torch.Tensor, bias_V: torch.Tensor | None) -> torch.Tensor:
    logits_KV = torch.nn.functional.linear(hidden_KD, weight_VD, bias_V)
    return logits_KV.to(_wide(logits_KV.dtype)).log_softmax(-1)


def _entropy_slope(logp_KV: torch.Tensor, d_entropy_K: torch.Tensor) -> torch.Tensor:
    """The gradient on the logits: -p (log p + H) for each."""
    p_KV = logp_KV.exp()
    inner_KV = logp_KV.masked_fill(p_KV == 0, 0.0)
    entropy_K1 = -(p_KV * inner_KV).sum(-1, keepdim=True)
    return p_KV.mul_(inner_KV.add_(entropy_K1)).mul_(-d_entropy_K.unsqueeze(-1))


def _heated_slope(
    logp_KV: torch.Tensor, ids_K: torch.Tensor, temperature: float | torch.Tensor, d_heated_K: torch.Tensor
) -> torch.Tensor:
    """The gradient on the logits of log pi_T: (1 - p_T) / T of the token, -p_T / T of all others."""
    wide = temperature.unsqueeze(-1) if isinstance(temperature, torch.Tensor) else temperature
    d_K1 = (d_heated_K / temperature).unsqueeze(-1)
    return (logp_KV / wide).softmax(-1).mul_(-d_K1).scatter_add_(-1, ids_K.unsqueeze(-1), d_K1)


def _of(temperature: float | torch.Tensor, part: slice) -> float | torch.Tensor:
    return temperature[part] if isinstance(temperature, torch.Tensor) else temperature


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _column(gradient_K: torch.Tensor | None, part: slice, like: torch.Tensor) -> torch.Tensor:
    return like.new_zeros(1) if gradient_K is None else gradient_K[part, None]
