"""Losses of verl, TRL, OpenRLHF and the authors' code, and their gradients, computed by the parts of our methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from aepo_rllib import GRPOConfig
from aepo_rllib.algorithms.dr_grpo import DrGRPOConfig
from aepo_rllib.algorithms.entropy_reg import EntropyRegConfig
from aepo_rllib.algorithms.gspo import GSPOConfig
from aepo_rllib.algorithms.rloo import RLOOConfig
from aepo_rllib.experience.dealing import Mean, deal
from aepo_rllib.experience.rows import Row
from aepo_rllib.objectives.advantages import Graded
from aepo_rllib.objectives.losses import entropy, kl_k3, kl_to_reference, truncated_importance
from aepo_rllib.objectives.parts import MAIN, Method, Term, Tokens, term_values
from aepo_rllib.objectives.selections import most_uncertain
from tests.support.goldens import GROUP_SIZE, golden_cases, tensor


class Ours(NamedTuple):
    """A peer's options in our words; `micro_batches` of one optimizer step share its mean over rows."""

    method: Method
    mean: Mean
    micro_batches: int = 1


OursOf = Callable[[dict[str, Any]], Ours]


def ours(config: GRPOConfig, max_length: int = 5, micro_batches: int = 1) -> Ours:
    """What a config minimises."""
    return Ours(config.method(), Mean(config.aggregation, max_length), micro_batches)


def grpo(aggregation: str, low: float = 0.2, high: float = 0.2, dual: float | None = None) -> GRPOConfig:
    return GRPOConfig().training(clip_low=low, clip_high=high, dual_clip=dual, aggregation=aggregation)


def gspo(low: float, high: float) -> GRPOConfig:
    config = GSPOConfig()
    assert (config.clip_low, config.clip_high) == (low, high)  # the peers' defaults are ours
    return config


def with_term(given: Ours, **terms: Term) -> Ours:
    """One more term over the main rows, or another main term."""
    return given._replace(method=replace(given.method, terms={**given.method.terms, **terms}))


def verl(args: dict[str, Any]) -> Ours:
    padded_length = 5  # what verl divides by, unless told otherwise
    clips = args["clip_ratio_low"], args["clip_ratio_high"]
    if "clip_ratio_c" not in args:
        return ours(gspo(*clips), padded_length)
    return ours(grpo(args["loss_agg_mode"], *clips, args["clip_ratio_c"]), padded_length)


def trl(args: dict[str, Any]) -> Ours:
    length, high = args["max_completion_length"], args.get("epsilon_high", 0.2)
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
        assert not args["use_bias_correction_kl"]
        given = with_term(given, kl=Term(kl_to_reference, coefficient=args["beta"]))
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


def loss_cases(peer: str, prefix: str, ours_of: OursOf) -> list[Any]:
    """Parameters for pytest: (case, its options in our words)."""
    return [pytest.param(case, ours_of(case["args"]), id=id_) for (case,), _, id_ in golden_cases(peer, prefix)]


LOSSES = [
    *loss_cases("verl", "loss", verl),
    *loss_cases("trl", "loss", trl),
    *loss_cases("openrlhf", "policy_loss", openrlhf),
    *loss_cases("aepo_official", "policy_loss", authors),
]
BINDING_DUAL_CLIPS = [
    *loss_cases("verl", "loss_vanilla_dual_clip", verl),
    *loss_cases("verl", "loss_rollout_is_dual_clip", verl),
    *loss_cases("aepo_official", "policy_loss_dual_clip", authors),
]


def importance(case: dict[str, Any]) -> torch.Tensor | None:
    if "rollout_is_threshold" not in case["args"]:
        return None
    cap = case["args"]["rollout_is_threshold"]
    return truncated_importance(tensor(case, "old_log_prob"), tensor(case, "rollout_log_prob"), cap)


def tokens_of(case: dict[str, Any]) -> Tokens:
    """The rows of a case, zero on padding; log-probs and entropies are leaves."""
    mask_BT = tensor(case, "response_mask").bool()

    def real(name: str) -> torch.Tensor | None:
        return tensor(case, name) * mask_BT if name in case["inputs"] else None

    logp_BT, old_logp_BT, entropy_BT = real("log_prob"), real("old_log_prob"), real("entropies")
    assert logp_BT is not None
    assert old_logp_BT is not None
    advantage = tensor(case, "advantages")
    advantage_BT = (advantage if advantage.ndim == 2 else advantage.unsqueeze(1)) * mask_BT
    entropy_BT = None if entropy_BT is None else entropy_BT.requires_grad_()
    return Tokens(logp_BT.requires_grad_(), old_logp_BT, advantage_BT, mask_BT, entropy_BT, real("ref_log_prob"))


def weights(tokens: Tokens, given: Ours) -> torch.Tensor:
    """What the algorithm would multiply the rows' sums by in every term."""
    rows = [Row([1], np.zeros(int(length)), np.zeros(int(length)), 1.0) for length in tokens.mask.sum(1)]
    [[dealt]] = deal({MAIN: [rows] * given.micro_batches}, given.method, given.mean, updates=1, learners=1)
    return torch.tensor([row.weights for row in dealt[: len(rows)]], dtype=torch.float64)


def factors(case: dict[str, Any], tokens: Tokens, method: Method) -> torch.Tensor | None:
    """What the algorithm would multiply token losses by in every term."""
    weighted, seen = importance(case), tokens._replace(logp=tokens.logp.detach())
    factor_BKT = torch.ones(len(tokens.mask), len(method.terms), tokens.mask.shape[1], dtype=torch.float64)
    if weighted is not None:
        factor_BKT = factor_BKT * weighted.unsqueeze(1)
    for place, term in enumerate(method.terms.values()):
        if term.select is not None:
            factor_BKT[:, place] *= term.select(seen, torch.Generator())
    return factor_BKT


def loss_of(case: dict[str, Any], given: Ours, tokens: Tokens) -> torch.Tensor:
    values = term_values(given.method.terms, tokens, weights(tokens, given), factors(case, tokens, given.method))
    return torch.stack(list(values.values())).sum()


def gradient(case: dict[str, Any], given: Ours) -> torch.Tensor:
    """On the log-probs."""
    tokens = tokens_of(case)
    return torch.autograd.grad(loss_of(case, given, tokens), tokens.logp)[0]


@pytest.mark.parametrize(("case", "given"), LOSSES)
def test_loss_and_gradients_are_the_peers(case: dict[str, Any], given: Ours) -> None:
    tokens = tokens_of(case)
    loss = loss_of(case, given, tokens)
    leaves = [tokens.logp] if "grad_entropies" not in case["outputs"] else [tokens.logp, tokens.entropy]
    found = dict(zip(("grad_log_prob", "grad_entropies"), torch.autograd.grad(loss, leaves), strict=False))
    for name, value in {"loss": loss.detach(), **found}.items():
        torch.testing.assert_close(value, tensor(case, name), atol=case["tolerance"], rtol=0)


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


@pytest.mark.parametrize("case", golden_cases("verl", "kl_k3"))
def test_k3_and_its_gradient_are_verls(case: dict[str, Any]) -> None:
    logp_BT = tensor(case, "log_prob").requires_grad_()
    kl_BT = kl_k3(logp_BT, tensor(case, "ref_log_prob"))
    torch.testing.assert_close(kl_BT.detach(), tensor(case, "kl"), atol=1e-6, rtol=0)
    (gradient_BT,) = torch.autograd.grad(kl_BT.sum(), logp_BT)
    torch.testing.assert_close(gradient_BT, tensor(case, "grad_sum_wrt_logprob"), atol=1e-6, rtol=0)


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
        *((RLOOConfig, *case.values) for case in golden_cases("trl", "adv_rloo")),
        *((DrGRPOConfig, *case.values) for case in golden_cases("verl", "adv_grpo_nostd")),
        *((GSPOConfig, *case.values) for case in golden_cases("verl", "adv_grpo_std")),
        *((EntropyRegConfig, *case.values) for case in golden_cases("verl", "adv_grpo_std")),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else value.__name__,
)
def test_advantages_of_a_method_are_the_peers(config: type[GRPOConfig], case: dict[str, Any]) -> None:
    advantages_PG = config().method().streams[MAIN].advantage(Graded(tensor(case, "rewards").view(-1, GROUP_SIZE)))
    torch.testing.assert_close(advantages_PG, tensor(case, "advantages").view(-1, GROUP_SIZE), atol=1e-6, rtol=0)
