"""What more learners hold and send: closed forms against what FSDP2 sends, and the page against the closed forms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from aepo_rllib.columns import Columns
from aepo_rllib.learning.sharding import shard
from aepo_rllib.models.token_scorer import TokenScorer
from aepo_rllib.planning.growth import growth
from aepo_rllib.planning.shape import ModelShape
from tests.support.fits import PAGE, RUN
from tests.support.growth_table import BEGIN, END, as_markdown
from tests.support.shapes import qwen

LEARNERS = 4
SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_hidden_layers": 6}


class Sent(TorchDispatchMode):
    """Bytes of the tensors that learners gather, and of those that they sum."""

    def __init__(self) -> None:
        super().__init__()
        self.gathered = self.summed = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().lower()
        if name.startswith("c10d::"):
            largest = max(tensor.nbytes for tensor in tree_leaves(args) if isinstance(tensor, torch.Tensor))
            self.gathered += largest * ("allgather" in name)
            self.summed += largest * ("reduce_scatter" in name)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def sent() -> Iterator[Sent]:
    """What one of four learners sends and is sent, of whom there are no others."""
    torch.distributed.init_process_group("fake", rank=0, world_size=LEARNERS, store=FakeStore())
    yield Sent()
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("checkpoint", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "apart"])
def test_a_pass_sends_as_much_as_is_said(sent: Sent, tied: bool, checkpoint: bool) -> None:
    config = qwen("0.5b", vocab_size=320, tie_word_embeddings=tied, **SIZES)
    shape = ModelShape(config)
    scorer = TokenScorer(
        shape.empty(dtype=torch.float32), half=torch.bfloat16, share_prompts=False, checkpoint=checkpoint
    )
    shard(scorer, torch.device("cpu"))
    ids, mask = torch.ones(2, 8, dtype=torch.long), torch.ones(2, 8, dtype=torch.bool)
    batch = {
        Columns.PROMPT_IDS: ids,
        Columns.PROMPT_MASK: mask,
        Columns.COMPLETION_IDS: ids,
        Columns.COMPLETION_MASK: mask,
        Columns.PROMPT_INDEX: torch.arange(2),
    }
    scorer(batch, reads=())[Columns.POLICY_LOGP].sum().backward()  # the first one also looks at what the model is
    with sent:
        scorer(batch, reads=())[Columns.POLICY_LOGP].sum().backward()
    inside, outside = sum(shape.layers), shape.rest
    assert sent.gathered == pytest.approx(2 * (2 * inside + outside), rel=0.01)  # some padding
    assert sent.summed == pytest.approx(4 * (inside + outside), rel=0.01)
    one_pass = replace(RUN, num_learners=LEARNERS, learner_sharding="fsdp", tokens_per_backward=None)
    said = growth(shape, one_pass)
    assert said.passes == 1
    assert said.into_gpu == pytest.approx((sent.gathered + sent.summed) * (LEARNERS - 1) / LEARNERS, rel=0.01)


def test_sixteen_learners_of_a_7b() -> None:
    """By hand: 7.616e9 parameters, 6.525e9 in layers; of 128 groups of 5 each has 8; 7 rows are a pass."""
    found = growth(ModelShape(qwen("7b")), replace(RUN, num_learners=16, learner_sharding="fsdp"))
    assert (found.nodes, found.passes) == (2, 6)
    assert found.at_rest == pytest.approx(16 * 7.616e9 / 16, rel=1e-3)
    a_pass = 2 * (7.616e9 + 6.525e9) + 4 * 7.616e9
    assert found.into_gpu == pytest.approx(6 * a_pass * 15 / 16, rel=1e-3)
    assert found.into_node == pytest.approx(6 * a_pass / 2, rel=1e-3)
    assert found.update == pytest.approx(15.23e9, rel=1e-3)
    assert found.checkpoint == pytest.approx(12 * 7.616e9 / 16, rel=1e-3)


def test_on_one_node_nothing_comes_over_the_network() -> None:
    shape = ModelShape(qwen("0.5b"))
    for learners in (1, 2, 8):
        assert growth(shape, replace(RUN, num_learners=learners, learner_sharding="fsdp")).into_node == 0
    assert growth(shape, replace(RUN, num_learners=1)).into_gpu == 0


def test_the_page_shows_the_table() -> None:
    shown = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    assert shown.strip() == as_markdown().strip()
