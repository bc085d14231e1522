"""The losses of verl, TRL, OpenRLHF and the authors' code, and their gradients, computed by ours."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from goldens import golden_cases, tensor

from aepo_rllib.objectives.losses import Component, clipped_surrogate, composed_loss, row_weights, truncated_importance


class Options(NamedTuple):
    """A peer's options in our words; `micro_batches` of one optimizer step share its mean over rows."""

    aggregation: str
    low: float = 0.2
    high: float = 0.2
    dual_clip: float | None = None
    max_length: int | None = None
    micro_batches: int = 1


OptionsOf = Callable[[dict[str, Any]], Options]


def verl_options(args: dict[str, Any]) -> Options:
    padded_length = 5  # what verl divides by, unless told otherwise
    clips = args["clip_ratio_low"], args["clip_ratio_high"], args["clip_ratio_c"]
    return Options(args["loss_agg_mode"], *clips, max_length=padded_length)


def trl_options(args: dict[str, Any]) -> Options:
    aggregation = {"grpo": "seq-mean-token-mean", "dr_grpo": "seq-mean-token-sum-norm", "dapo": "token-mean"}
    # "grpo" takes the mean of the means of accumulated micro-batches. "dapo" divides by `num_items_in_batch`, the
    # tokens of all of them, which these cases set to the tokens of the one that is given.
    parts = args.get("current_gradient_accumulation_steps", 1) if args["loss_type"] == "grpo" else 1
    return Options(
        aggregation[args["loss_type"]],
        high=args.get("epsilon_high", 0.2),
        max_length=args["max_completion_length"],
        micro_batches=parts,
    )


def openrlhf_options(args: dict[str, Any]) -> Options:
    aggregation = "token-mean" if args.get("token_level_loss", True) else "seq-mean-token-mean"
    return Options(aggregation, high=args.get("clip_eps_high", 0.2), dual_clip=args.get("dual_clip"))


def authors_options(args: dict[str, Any]) -> Options:
    return Options("token-mean", args["clip_ratio_low"], args["clip_ratio_high"], args["clip_ratio_dual"])


def loss_cases(peer: str, prefix: str, options_of: OptionsOf) -> list[Any]:
    """Parameters for pytest: (case, its options in our words)."""
    return [pytest.param(case, options_of(case["args"]), id=id_) for (case,), _, id_ in golden_cases(peer, prefix)]


LOSSES = [
    *loss_cases("verl", "loss_vanilla", verl_options),
    *loss_cases("verl", "loss_rollout_is", verl_options),
    *loss_cases("trl", "loss", trl_options),
    *loss_cases("openrlhf", "policy_loss", openrlhf_options),
    *loss_cases("aepo_official", "policy_loss", authors_options),
]
BINDING_DUAL_CLIPS = [
    *loss_cases("verl", "loss_vanilla_dual_clip", verl_options),
    *loss_cases("verl", "loss_rollout_is_dual_clip", verl_options),
    *loss_cases("aepo_official", "policy_loss_dual_clip", authors_options),
]


def importance(case: dict[str, Any]) -> torch.Tensor | None:
    if "rollout_is_threshold" not in case["args"]:
        return None
    cap = case["args"]["rollout_is_threshold"]
    return truncated_importance(tensor(case, "old_log_prob"), tensor(case, "rollout_log_prob"), cap)


def loss_and_gradient(case: dict[str, Any], options: Options) -> tuple[torch.Tensor, torch.Tensor]:
    mask_BT, logp_BT = tensor(case, "response_mask").bool(), tensor(case, "log_prob").requires_grad_()
    lengths = mask_BT.sum(1).tolist() * options.micro_batches
    weights = row_weights(lengths, aggregation=options.aggregation, max_length=options.max_length)[: len(mask_BT)]
    surrogate = partial(clipped_surrogate, low=options.low, high=options.high, dual_clip=options.dual_clip)
    loss, terms = composed_loss(
        [Component(surrogate)],
        torch.zeros(len(mask_BT), dtype=torch.long),
        logp_BT,
        tensor(case, "old_log_prob"),
        tensor(case, "advantages"),
        mask_BT,
        torch.tensor(weights, dtype=torch.float64),
        importance(case),
    )
    assert [term.item() for term in terms] == [loss.item()]
    return loss.detach(), torch.autograd.grad(loss, logp_BT)[0]


@pytest.mark.parametrize(("case", "options"), LOSSES)
def test_loss_and_gradient_are_the_peers(case: dict[str, Any], options: Options) -> None:
    loss, gradient_BT = loss_and_gradient(case, options)
    torch.testing.assert_close(loss, tensor(case, "loss"), atol=case["tolerance"], rtol=0)
    torch.testing.assert_close(gradient_BT, tensor(case, "grad_log_prob"), atol=case["tolerance"], rtol=0)


@pytest.mark.parametrize("case", golden_cases("verl", "loss_rollout_is"))
def test_truncated_importance_is_verls(case: dict[str, Any]) -> None:
    importance_BT = importance(case)
    assert importance_BT is not None
    assert torch.equal(importance_BT * tensor(case, "response_mask"), tensor(case, "rollout_is_weights"))


@pytest.mark.parametrize(("case", "options"), BINDING_DUAL_CLIPS)
def test_the_dual_clip_binds_on_as_many_tokens_as_the_peer_counts(case: dict[str, Any], options: Options) -> None:
    _, bound_BT = loss_and_gradient(case, options)
    _, free_BT = loss_and_gradient(case, options._replace(dual_clip=None))
    binds_BT = bound_BT != free_BT
    assert binds_BT.any()
    assert (bound_BT[binds_BT] == 0).all()
    share = binds_BT.sum() / tensor(case, "response_mask").sum()
    torch.testing.assert_close(share.double(), tensor(case, "pg_clipfrac_lower"), atol=1e-6, rtol=0)
