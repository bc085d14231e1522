"""What a forecast means, in sentences, and in plain values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from aepo_rllib.algorithms.aepo import AEPOConfig
from aepo_rllib.doctor.forecast import RISKY_ENTROPY, Forecast
from aepo_rllib.doctor.levels import Sampled

FEW_CORRECT = 0.02
"""Share of correct completions below which the tempered term has next to nothing to learn from."""


def risks(found: Forecast, sampled: Sampled) -> list[str]:
    """What speaks against training this model on these problems."""
    entropy, said = found.entropy, []
    if entropy.low < RISKY_ENTROPY:
        how = "is" if entropy.high < RISKY_ENTROPY else "may be"
        said.append(
            f"the base entropy {how} below {RISKY_ENTROPY} nats per token, where GRPO has been found to gain little "
            "(arXiv 2606.18487): take a checkpoint of earlier training, or warmer problems"
        )
    if sampled.correct < FEW_CORRECT:
        said.append(
            f"{sampled.correct:.1%} of the completions are correct, and only those carry the tempered term: take "
            "easier problems, or look at the completions and the verifier (aepo problems)"
        )
    if found.hot.high <= found.grpo.high and found.cold.low >= found.grpo.low:
        said.append("heating and cooling make no difference that these samples could show: no dial will hold")
    return said


def advice(found: Forecast, config: AEPOConfig) -> Iterator[str]:
    """What to do."""
    base, setting = found.entropy.value, _setting(config)
    low, high = config.temperature_low, config.temperature_high
    if found.hot.low > 0:
        yield f"T {high:g} lifts the base entropy: 1.0x and more can be held, {_up_to(found)}"
    elif found.hot.high < 0:
        yield (
            f"even at T {high:g} training lowers the base entropy, if only at first: 1.0x is likely to slip away with "
            f"{setting}; aim lower, or raise alpha"
        )
        if not found.beyond_highest:
            yield f"T {high:g} stops the fall at about {found.highest.value / base:.2f}x, or above"
    else:
        yield f"whether T {high:g} holds the base entropy, these samples leave open: take more problems (--count)"
    if found.cold.high < 0:
        reach = "any target below" if found.beyond_lowest else f"targets down to {found.lowest.value / base:.2f}x"
        yield f"T {low:g} lowers it: {reach} can be reached"
    else:
        yield f"whether T {low:g} lowers it, these samples leave open: take more problems, or lower temperature_low"


def _up_to(found: Forecast) -> str:
    share, entropy = found.highest.value / found.entropy.value, found.highest.value
    return f"{'at least' if found.beyond_highest else 'about'} up to {share:.2f}x ({entropy:.2f} nats per token)"


def as_record(found: Forecast, sampled: Sampled, config: AEPOConfig) -> dict[str, Any]:
    """All of it in plain values."""
    rates = {name: figures.tolist() for name, figures in found.rates._asdict().items()}
    return {
        "model": config.model_path,
        "settings": {name: getattr(config, name) for name in ("alpha", "temperature_low", "temperature_high")},
        "correct": sampled.correct,
        "completion_tokens": sampled.length,
        "content_share": sampled.kinds.content_share,
        "content_tokens": [name for name, _ in content_tokens(sampled)],
        **{name: value for name, value in asdict(found).items() if name != "rates"},
        "levels": {"tau": [level.tau for level in sampled.levels], **rates},
        "risks": risks(found, sampled),
        "advice": list(advice(found, config)),
    }


def content_tokens(sampled: Sampled) -> list[tuple[str, float]]:
    """Tokens whose choice success depends on, the surest first, with the share of their variance that it explains."""
    order = sampled.kinds.z.argsort(descending=True).tolist()
    return [
        (sampled.names[token], float(sampled.kinds.explained[token])) for token in order if sampled.kinds.matters[token]
    ]


def _setting(config: AEPOConfig) -> str:
    return f"T {config.temperature_low:g}-{config.temperature_high:g}, alpha {config.alpha:g}"
