"""What `aepo plan` says of the memory that `gpu.py` measures: a pass of the learner, an optimizer step, the head.

It needs neither Ray nor a GPU: passes are counted on tensors without contents, in seconds. Prompts are taken to be of
one length, their mean.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property

import torch
from gpu_models import Work
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import PreTrainedModel

from aepo_rllib.columns import Columns
from aepo_rllib.objectives.chunked_head import head_statistics
from aepo_rllib.planning import fake_pass
from aepo_rllib.planning.fake_pass import PassBytes
from aepo_rllib.planning.live_bytes import LiveBytes
from aepo_rllib.planning.shape import ModelShape

STATES, STEP = 16, 20
"""Bytes a parameter: weights, gradients and Adam's moments in float32, and AdamW's step with them."""


class Forecast:
    """Of a model and the work that is done with it. Bytes.

    Args:
        model: Whose configuration counts.
        work: Lengths and group size.
    """

    def __init__(self, model: PreTrainedModel, work: Work) -> None:
        self.config, self.work = model.config, work

    @cached_property
    def shape(self) -> ModelShape:
        return ModelShape(self.config)

    @property
    def gradients(self) -> int:
        """Of all weights."""
        return 4 * self.shape.parameters

    @property
    def adamw(self) -> int:
        """At the peak of the optimizer's step."""
        return STEP * self.shape.parameters

    def one_pass(self, rows: int, *, share: bool, entropy: bool = False, checkpoint: bool = False) -> PassBytes:
        """Of a forward and backward pass, beside weights, gradients and moments."""
        work = fake_pass.Work(
            rows,
            -(-rows // self.work.group_size),
            self.work.prompt_tokens,
            self.work.completion_tokens,
            "bfloat16",
            share_prompts=share,
            checkpoint=checkpoint,
            entropy=entropy,
        )
        return fake_pass.pass_bytes(self.shape, work)

    def passes(self, rows: int, *, share: bool, entropy: bool) -> int:
        """At the peak of an optimizer step's passes, all that there is."""
        return STATES * self.shape.parameters + self.one_pass(rows, share=share, entropy=entropy).peak

    def head(self, tokens: int, reads: Collection[str], *, backward: bool) -> int:
        """At the peak of the output layer and its figures, beside its weight and the hidden states."""
        with FakeTensorMode():
            weight = torch.empty(self.config.vocab_size, self.config.hidden_size, requires_grad=True)
            hidden = torch.empty(tokens, self.config.hidden_size, dtype=torch.bfloat16, requires_grad=backward)
            ids = torch.empty(tokens, dtype=torch.long)
            live = LiveBytes([weight, hidden, ids])
            with live, torch.set_grad_enabled(backward):
                statistics = head_statistics(hidden, weight.to(hidden.dtype), None, ids, fields(reads))
                if backward:
                    loss = statistics.logp.sum() + (0 if statistics.entropy is None else statistics.entropy.sum())
                    loss.backward()
        return max(max(trace) for trace in live.traces.values())


def fields(reads: Collection[str]) -> list[str]:
    """Figures of the head by its own names."""
    return [{Columns.ENTROPY: "entropy", Columns.LOGIT_VARIANCE: "logit_variance"}[name] for name in reads]
