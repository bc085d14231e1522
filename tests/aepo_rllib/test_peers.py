"""Losses of verl, TRL, OpenRLHF and the authors' code, and their gradients, computed by the parts of our methods."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from aepo_rllib import GRPOConfig
from aepo_rllib.algorithms.dr_grpo import DrGRPOConfig
from aepo_rllib.algorithms.entropy_reg import EntropyRegConfig
from aepo_rllib.algorithms.gspo import GSPOConfig
from aepo_rllib.algorithms.rloo import RLOOConfig
from aepo_rllib.objectives.advantages import Graded
from aepo_rllib.objectives.losses import entropy
from aepo_rllib.objectives.parts import MAIN, Term, Tokens
from aepo_rllib.objectives.selections import most_uncertain
from tests.support.goldens import GROUP_SIZE, golden_cases, tensor
from tests.support.peer_losses import Ours, assert_the_peers, gradient, importance, loss_cases, ours, with_term


def grpo(aggregation: str, low: float = 0.2, high: float = 0.2, dual: float | None = None) -> GRPOConfig:
    return GRPOConfig().training(clip_low=low, clip_high=high, dual_clip=dual, aggregation=aggregation)


def gspo(low: float, high: float) -> GRPOConfig:
    config = GSPOConfig()
    assert (config.clip_low, config.clip_high) == (low, high)  # the peers' defaults are ours
    return config


def verl(args: dict[str, Any]) -> Ours:
    padded_length = 5  # what verl divides by, unless told otherwise
    clips = args["clip_ratio_low"], args["clip_ratio_high"]
    if "clip_ratio_c" not in args:
        return ours(gspo(*clips), padded_length)
    return ours(grpo(args["loss_agg_mode"], *clips, args["clip_ratio_c"]), padded_length)


def trl(args: dict[str, Any]) -> Ours:
    length, high = args["max_completion_length"], args.get("epsilon_high", 0.2)
    if args["loss_type"] == "luspo":  # a row's sum in the place of its mean; a mean over rows, not over the budget
        sums = "seq-mean-token-sum-norm"
        return ours(GSPOConfig().training(clip_low=0.2, clip_high=high, aggregation=sums), max_length=1)
    if args.get("importance_sampling_level") == "sequence":
        return ours(gspo(args["epsilon_low"], high), length)
    # "grpo" takes the mean of the means of accumulated micro-batches. "dapo" divides by `num_items_in_batch`, the
    # tokens of all of them, which these cases set to the tokens of the one that is given.
    parts = args.get("current_gradient_accumulation_steps", 1) if args["loss_type"] == "grpo" else 1
    config = {
        "grpo": partial(grpo, "seq-mean-token-mean", high=high),
        "dr_grpo": DrGRPOConfig,
        "dapo": partial(grpo, "token-mean", high=high),
    }[args["loss_type"]]()
    given = ours(config, length, parts)
    if "beta" in args:
        estimator = "k3_corrected" if args["use_bias_correction_kl"] else "k3"
        given = ours(config.training(kl_coefficient=args["beta"], kl_estimator=estimator), length, parts)
    if "entropy_coef" in args:  # a mean over tokens, whatever the loss's own is
        given = with_term(given, entropy=Term(entropy, coefficient=-args["entropy_coef"], aggregation="token-mean"))
    if "top_entropy_quantile" in args:
        select = partial(most_uncertain, share=args["top_entropy_quantile"])
        given = with_term(given, main=replace(given.method.terms[MAIN], select=select))
    return given


def openrlhf(args: dict[str, Any]) -> Ours:
    if args.get("policy_loss_type") == "gspo":
        return ours(gspo(args["clip_eps_low"], args["clip_eps_high"]))
    aggregation = "token-mean" if args.get("token_level_loss", True) else "seq-mean-token-mean"
    return ours(grpo(aggregation, high=args.get("clip_eps_high", 0.2), dual=args.get("dual_clip")))


def authors(args: dict[str, Any]) -> Ours:
    return ours(grpo("token-mean", args["clip_ratio_low"], args["clip_ratio_high"], args["clip_ratio_dual"]))


TRL = ("loss_grpo", "loss_dr_grpo", "loss_dapo", "loss_gspo", "loss_luspo")
LOSSES = [
    *loss_cases("verl", ("loss_vanilla", "loss_gspo", "loss_rollout_is"), verl),
    *loss_cases("trl", TRL, trl),
    *loss_cases("openrlhf", "policy_loss", openrlhf),
    *loss_cases("aepo_official", "policy_loss", authors),
]
BINDING_DUAL_CLIPS = [
    *loss_cases("verl", "loss_vanilla_dual_clip", verl),
    *loss_cases("verl", "loss_rollout_is_dual_clip", verl),
    *loss_cases("aepo_official", "policy_loss_dual_clip", authors),
]


@pytest.mark.parametrize(("case", "given"), LOSSES)
def test_loss_and_gradients_are_the_peers(case: dict[str, Any], given: Ours) -> None:
    assert_the_peers(case, given)


@pytest.mark.parametrize("case", golden_cases("verl", "loss_rollout_is"))
def test_truncated_importance_is_verls(case: dict[str, Any]) -> None:
    importance_BT = importance(case)
    assert importance_BT is not None
    assert torch.equal(importance_BT * tensor(case, "response_mask"), tensor(case, "rollout_is_weights"))


@pytest.mark.parametrize(("case", "given"), BINDING_DUAL_CLIPS)
def test_the_dual_clip_binds_on_as_many_tokens_as_the_peer_counts(case: dict[str, Any], given: Ours) -> None:
    bound_BT = gradient(case, given)
    free = partial(given.method.terms[MAIN].loss, dual=None)
    free_BT = gradient(case, with_term(given, main=replace(given.method.terms[MAIN], loss=free)))
    binds_BT = bound_BT != free_BT
    assert binds_BT.any()
    assert (bound_BT[binds_BT] == 0).all()
    share = binds_BT.sum() / tensor(case, "response_mask").sum()
    torch.testing.assert_close(share.double(), tensor(case, "pg_clipfrac_lower"), atol=1e-6, rtol=0)


KL_NAMES = {"kl": "k1", "mse": "k2"}
"""What the authors' code calls them, where it is not our name."""


@pytest.mark.parametrize(
    "case", [*golden_cases("verl", "kl"), *golden_cases("openrlhf", "kl"), *golden_cases("aepo_official", "kl")]
)
def test_estimates_of_the_kl_and_their_gradients_are_the_peers(case: dict[str, Any]) -> None:
    name = case["args"].get("kl_penalty", case["args"].get("kl_estimator"))
    logp_BT, mask_BT = tensor(case, "log_prob").requires_grad_(), torch.ones_like(tensor(case, "log_prob")).bool()
    tokens = Tokens(logp_BT, None, logp_BT, mask_BT, ref_logp=tensor(case, "ref_log_prob"))
    config = GRPOConfig().training(kl_coefficient=0.04, kl_estimator=KL_NAMES.get(name, name))
    term = config.method().terms["kl"]
    assert (term.coefficient, term.reads) == (0.04, {"ref_logp"})
    kl_BT = term.loss(tokens)
    torch.testing.assert_close(kl_BT.detach(), tensor(case, "kl"), atol=case["tolerance"], rtol=0)
    if "grad_sum_wrt_logprob" in case["outputs"]:
        (gradient_BT,) = torch.autograd.grad(kl_BT.sum(), logp_BT)
        torch.testing.assert_close(gradient_BT, tensor(case, "grad_sum_wrt_logprob"), atol=case["tolerance"], rtol=0)


@pytest.mark.parametrize("case", golden_cases("trl", "high_entropy_mask"))
def test_the_most_uncertain_tokens_are_trls(case: dict[str, Any]) -> None:
    mask_BT, entropy_BT = tensor(case, "response_mask").bool(), tensor(case, "entropies")
    tokens = Tokens(torch.zeros_like(entropy_BT), entropy_BT, entropy_BT, mask_BT, entropy_BT)
    chosen_BT = most_uncertain(tokens, torch.Generator(), share=1 - case["args"]["threshold"])
    assert torch.equal(chosen_BT, tensor(case, "mask"))


@pytest.mark.parametrize(
    ("config", "case"),
    [
        *((RLOOConfig, *case.values) for case in golden_cases("verl", "adv_rloo")),
        *((RLOOConfig, *case.values) for case in golden_cases("trl", "adv_rloo_normFalse")),
        *((DrGRPOConfig, *case.values) for case in golden_cases("verl", "adv_grpo_nostd")),
        *((GSPOConfig, *case.values) for case in golden_cases("verl", "adv_grpo_std")),
        *((EntropyRegConfig, *case.values) for case in golden_cases("verl", "adv_grpo_std")),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else value.__name__,
)
def test_advantages_of_a_method_are_the_peers(config: type[GRPOConfig], case: dict[str, Any]) -> None:
    advantages_PG = config().method().streams[MAIN].advantage(Graded(tensor(case, "rewards").view(-1, GROUP_SIZE)))
    torch.testing.assert_close(advantages_PG, tensor(case, "advantages").view(-1, GROUP_SIZE), atol=1e-6, rtol=0)
