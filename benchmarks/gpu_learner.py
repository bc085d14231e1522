"""The learner's side of `gpu.py`: speed, memory, gradient checkpointing, and one gradient for both forms of a batch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import torch
from gpu_forecast import Forecast, fields
from gpu_models import (
    Batch,
    Memory,
    Work,
    build,
    cleared,
    gib,
    random_batch,
    rows_of,
    seconds,
    slope,
    training_flops,
)
from transformers import PreTrainedModel

from aepo_rllib.columns import Columns
from aepo_rllib.models.token_scorer import TokenScorer
from aepo_rllib.objectives.chunked_head import head_statistics

HALF = torch.bfloat16
PEAK_FLOPS = 989e12
"""Dense bf16 of an H100 or H200 (SXM), as its datasheet says."""
LOGP, ENTROPY = (), (Columns.ENTROPY,)
ALL = (Columns.ENTROPY, Columns.LOGIT_VARIANCE)
Rows = Iterator[dict[str, Any]]


def learner(work: Work, shape: str) -> Rows:
    """One optimizer step in passes of some rows: forward, backward and AdamW, bf16 over float32 weights."""
    with cleared():
        model = build(shape, work.device)
        batch = random_batch(work, model)
        cases = [(share, reads, work.rows[0]) for share in (True, False) for reads in (LOGP, ENTROPY)]
        cases += [
            (True, ALL, work.rows[0]),
            *((share, LOGP, rows) for rows in work.rows[1:] for share in (True, False)),
        ]
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
        _backward(TokenScorer(model, half=HALF), rows_of(batch, slice(1)), LOGP)
        optimizer.step()  # makes its state, which counts in every peak
        forecast = Forecast(model, work)
        for share, reads, rows in cases:
            row = {"shape": shape, "prompts": "shared" if share else "padded", "reads": _words(reads), "rows": rows}
            with cleared():
                scorer = TokenScorer(model, half=HALF, share_prompts=share)
                found = _attempt(lambda s=scorer, r=reads, n=rows: _step(work, s, optimizer, batch, r, n))
                planned = forecast.passes(rows, share=scorer.share_prompts, entropy=bool(reads))
                yield row | found | {"planned": gib(planned), "AdamW planned": gib(forecast.adamw)}
            model.zero_grad(set_to_none=True)


def head(work: Work, shape: str) -> Rows:
    """Memory of the output layer and the figures taken from its logits, by the growth of the peak with the tokens."""
    with cleared():
        model = build(shape, work.device)
        sizes = [work.completion_tokens * n for n in (1, 2, 4, 6)]
        for reads in (LOGP, ENTROPY, ALL):
            for backward in (False, True):
                peaks = [_head_peak(work, model, size, reads, backward=backward) for size in sizes]
                growth = slope(sizes, peaks)
                planned = Forecast(model, work).head(sizes[-1], reads, backward=backward)
                yield {
                    "shape": shape,
                    "reads": _words(reads),
                    "pass": "forward + backward" if backward else "forward, no grad",
                    "bytes/token": growth,
                    "bytes/logit": growth and round(growth / model.config.vocab_size, 2),
                    "peak GiB": gib(peaks[-1]),
                    "planned": gib(planned),
                    "tokens": sizes[-1],
                }


def activations(work: Work, shape: str) -> Rows:
    """What the layers (without the head) keep for the backward pass, and the peak of whole passes, for each token."""
    with cleared():
        model = build(shape, work.device)
        batch = random_batch(work, model)
        counts = [rows for rows in (1, 2, 4, 8) if rows <= work.group_size]
        width = batch[Columns.PROMPT_IDS].shape[1] + work.completion_tokens
        kept = [_kept(work, model, rows_of(batch, slice(rows))) for rows in counts]
        planned = [Forecast(model, work).one_pass(rows, share=False).kept for rows in counts]
        yield {
            "shape": shape,
            "what": "kept by the layers, padded rows",
            "bytes/token": slope([width * n for n in counts], kept),
            "planned": slope([(work.prompt_tokens + work.completion_tokens) * n for n in counts], planned),
        }
        trained = [rows * work.completion_tokens for rows in counts]
        for share in (True, False):
            scorer = TokenScorer(model, half=HALF, share_prompts=share)
            peaks = []
            for rows in counts:
                memory = Memory(work.device)
                _backward(scorer, rows_of(batch, slice(rows)), LOGP)
                peaks.append(memory.extra())
            what = f"peak of a pass, {'shared' if share else 'padded'}, for each completion token"
            planned = [Forecast(model, work).one_pass(rows, share=scorer.share_prompts).peak for rows in counts]
            found = {"bytes/token": slope(trained, peaks), "planned": slope(trained, planned)}
            yield {"shape": shape, "what": what, **found}
            model.zero_grad(set_to_none=True)


def checkpointing(work: Work, shape: str) -> Rows:
    """Activations that are kept, and those that are computed again: seconds, memory, and the same log-probs."""
    with cleared():
        model = build(shape, work.device)
        batch = rows_of(random_batch(work, model), slice(work.rows[0]))
        expected = _log_probs(TokenScorer(model, half=HALF, share_prompts=False), batch)
        for again in (False, True):  # in this order: a model that computes them again goes on doing so
            for share in (True, False):
                scorer = TokenScorer(model, half=HALF, share_prompts=share, checkpoint=again)
                row = {
                    "shape": shape,
                    "prompts": "shared" if scorer.share_prompts else "padded",
                    "activations": "computed again" if again else "kept",
                }
                with cleared():
                    found = _attempt(lambda s=scorer: _checkpointed(work, s, batch, expected))
                    # The first pass makes the gradients.
                    forecast = Forecast(model, work)
                    a_pass = forecast.one_pass(work.rows[0], share=scorer.share_prompts, checkpoint=again)
                    yield row | found | {"planned": gib(forecast.gradients + a_pass.peak)}
                model.zero_grad(set_to_none=True)


def gradient(work: Work, shape: str) -> Rows:
    """Relative difference of the gradients that shared prompts and padded rows give."""
    with cleared():
        model = build(shape, work.device)
        batch = rows_of(random_batch(work, model), slice(work.group_size - 2, work.group_size + 2))  # of two prompts
        for half in (None, HALF):
            found = []
            for share in (True, False):
                model.zero_grad(set_to_none=True)
                scorer = TokenScorer(model, half=half, share_prompts=share)
                _backward(scorer, batch, ENTROPY)
                found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
            shared, padded = found
            norms = {name: (shared[name] - padded[name]).norm() / padded[name].norm() for name in padded}
            difference = torch.stack([(shared[name] - padded[name]).norm() for name in padded]).norm()
            whole = torch.stack([padded[name].norm() for name in padded]).norm()
            worst = max(norms, key=lambda name: float(norms[name]))
            yield {
                "shape": shape,
                "precision": "float32" if half is None else "bf16",
                "relative error": float(difference / whole),
                "of the worst weight": float(norms[worst]),
                "its name": worst.removeprefix("model."),
            }


def _step(
    work: Work,
    scorer: TokenScorer,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    reads: Collection[str],
    rows: int,
) -> dict[str, Any]:
    count = len(batch[Columns.PROMPT_INDEX])
    memory, peaks = Memory(work.device), []

    def passes() -> None:
        optimizer.zero_grad(set_to_none=True)
        for start in range(0, count, rows):
            _backward(scorer, rows_of(batch, slice(start, start + rows)), reads)

    took = seconds(work.device, passes, repeats=work.repeats)
    peaks.append(memory.peak())
    memory.now()
    stepped = seconds(work.device, optimizer.step, repeats=work.repeats)
    peaks.append(memory.peak())
    total = took + stepped
    flops = training_flops(scorer.model, batch, shared=scorer.share_prompts)
    return {
        "s/step": round(total, 3),
        "AdamW s": round(stepped, 3),
        "completion tokens/s": round(int(batch[Columns.COMPLETION_MASK].sum()) / total),
        "TFLOP/s": round(flops / total / 1e12, 1),
        "MFU": round(flops / total / PEAK_FLOPS, 3) if work.device == "cuda" else None,
        "peak GiB": gib(peaks[0]),
        "AdamW peak GiB": gib(peaks[1]),
    }


def _checkpointed(work: Work, scorer: TokenScorer, batch: Batch, expected: torch.Tensor) -> dict[str, Any]:
    off = (_log_probs(scorer, batch) - expected).abs().max().item()
    memory = Memory(work.device)
    took = seconds(work.device, lambda: _backward(scorer, batch, LOGP), repeats=work.repeats)
    return {"s/pass": round(took, 3), "peak GiB above weights": gib(memory.extra()), "log-probs off by": round(off, 4)}


def _backward(scorer: TokenScorer, batch: Batch, reads: Collection[str]) -> None:
    figures = scorer(batch, reads)
    mask_NT = batch[Columns.COMPLETION_MASK]
    weight_N1 = torch.linspace(-1, 2, len(mask_NT), device=mask_NT.device).unsqueeze(-1)
    loss_NT = -weight_N1 * figures[Columns.POLICY_LOGP]
    if Columns.ENTROPY in reads:
        loss_NT = loss_NT - 0.01 * figures[Columns.ENTROPY]
    (torch.where(mask_NT, loss_NT, 0.0).sum() / mask_NT.sum()).backward()


def _log_probs(scorer: TokenScorer, batch: Batch) -> torch.Tensor:
    """With a graph: checkpointing does nothing without one."""
    return scorer(batch)[Columns.POLICY_LOGP].detach()[batch[Columns.COMPLETION_MASK]]


def _head_peak(
    work: Work, model: PreTrainedModel, tokens: int, reads: Collection[str], *, backward: bool
) -> int | None:
    with cleared():
        width = model.config.hidden_size
        hidden = torch.randn(tokens, width, device=work.device, dtype=HALF, requires_grad=backward)
        ids = torch.zeros(tokens, dtype=torch.long, device=work.device)
        model.zero_grad(set_to_none=True)
        memory = Memory(work.device)
        with torch.set_grad_enabled(backward):
            statistics = head_statistics(hidden, model.lm_head.weight.to(HALF), None, ids, fields(reads))
        if backward:
            loss = statistics.logp.sum() + (0 if statistics.entropy is None else statistics.entropy.sum())
            loss.backward()
        return memory.extra()


def _kept(work: Work, model: PreTrainedModel, batch: Batch) -> int | None:
    ids = torch.cat([batch[Columns.PROMPT_IDS], batch[Columns.COMPLETION_IDS]], dim=1)
    mask = torch.cat([batch[Columns.PROMPT_MASK], batch[Columns.COMPLETION_MASK]], dim=1).long()
    with cleared():
        before = Memory(work.device).now()
        with torch.autocast(work.device, dtype=HALF):
            hidden = model.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        kept = torch.cuda.memory_allocated() - before if work.device == "cuda" else None
        del hidden
        return kept


def _attempt(case: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Its figures, or in one word why there are none."""
    try:
        return case()
    except torch.OutOfMemoryError:
        return {"failed": "out of memory"}
    except (RuntimeError, ValueError, IndexError, AttributeError, TypeError) as error:
        return {"failed": f"{type(error).__name__}: {str(error).splitlines()[0][:80]}"}


def _words(reads: Collection[str]) -> str:
    return "+".join(["logp", *(name.removeprefix("policy_") for name in reads)])
