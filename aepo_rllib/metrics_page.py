"""docs/metrics.md: every metric with its unit, its healthy range, and what a 0 means."""

from __future__ import annotations

from typing import NamedTuple

from aepo_rllib.envs.verdict import Verdict
from aepo_rllib.metrics import (
    ANSWER_ENTROPY,
    AUTHORITY,
    BASE_CONTENT,
    BASE_ENTROPY,
    CAPPED_SHARE,
    COEFFICIENT,
    COMPLETION_TOKENS,
    COMPLETIONS_PER_SECOND,
    CONTENT,
    CONTENT_SURPRISAL,
    CONTROL,
    DISTINCT_AMONG,
    DISTINCT_ANSWERS,
    DISTINCT_CORRECT_ANSWERS,
    DISTINCT_CORRECT_PATHS,
    ENTROPY,
    ENTROPY_NOISE,
    ENTROPY_SLOPE,
    EVALUATION,
    EXACT_ENTROPY,
    FILTER_DELAY,
    FILTERED_ENTROPY,
    FIRST_RATIO_MAX_DEVIATION,
    FLAT_GROUP_SHARE,
    GAIN,
    GAIN_ERROR,
    GATE_WEIGHT,
    GATED_SHARE,
    GENERATION_SECONDS,
    GRADING_SECONDS,
    HEALTHY_ENV_RUNNERS,
    HOT_SHARE,
    HOTTEST,
    KL_OLD_TO_NEW,
    LEARNER,
    LEARNING_SECONDS,
    LOGP_GAP,
    MAIN,
    MISMATCH_GAP,
    MISMATCH_KL,
    MISMATCH_LARGEST_GAP,
    PASS_AT_1,
    PATH_DIVERSITY,
    PLUG_IN_ANSWER_ENTROPY,
    POSITIVE_SHARE,
    POSITIVES,
    PROBE_LARGEST_GAP,
    PROBE_MEAN_GAP,
    PULL,
    RATIO_MAX_DEVIATION,
    REACH_HIGH,
    REACH_LOW,
    REJECTED_SIGN,
    REWARD_MEAN,
    SAMPLED_SURPRISAL,
    SAMPLING_ROUNDS,
    SAMPLING_SECONDS,
    STRENGTH,
    STUCK,
    STYLE_SURPRISAL,
    SURPRISAL,
    SYNC_SECONDS,
    TARGET_CONTENT,
    TARGET_ENTROPY,
    TEMPERATURE,
    TEMPERED,
    TEMPERING_GAIN,
    THROUGHPUT,
    TRAINED_ROWS,
    TRUNCATED_SHARE,
    UPDATE,
    loss_of,
    verdict_share,
)


class Documented(NamedTuple):
    """What docs/metrics.md says of one metric."""

    key: str
    unit: str
    meaning: str
    healthy: str
    zero: str


def _stream(name: str, law: str) -> list[Documented]:
    figures = [
        (REWARD_MEAN, "0-1", f"mean reward of the judged completions drawn at {law}", "rises", "nothing solved: no gradient from this stream"),
        (EXACT_ENTROPY, "nats/token", f"mean exact entropy of the policy at T = 1, over all tokens of completions drawn at {law}", "main: near the target", "collapsed policy, or an engine that sees no logits (then absent)"),
        (SAMPLED_SURPRISAL, "nats/token", f"mean of minus the T = 1 log-prob, over all tokens of completions drawn at {law}", "main: equals exact entropy within noise", "deterministic policy"),
        (CONTENT_SURPRISAL, "nats/completion", f"mean over completions drawn at {law} of minus the T = 1 log-prob of their numbers and operators, see docs/method.md", "falls more slowly than the reward rises", "one way through every problem"),
        (STYLE_SURPRISAL, "nats/completion", "the same of all other tokens; the two add up to sampled_surprisal times completion_tokens", "with entropy held, as content_surprisal", "one wording"),
        (ENTROPY_SLOPE, "nats/token", f"mean dH/dT at T = 1, the variance of the logits (Lemma A), over all tokens of completions drawn at {law}", "well above 0", "no temperature moves this policy: collapsed, or uniform; absent where the engine sees no logits"),
        (TEMPERING_GAIN, "nats", f"mean of sum pi^2 (log pi + H)^2 (Theorem C), over all tokens of completions drawn at {law}: by how much heating rewarded samples raises the entropy", "0.01-0.1", "no temperature moves this policy; absent where the engine does not compute it"),
        (COMPLETION_TOKENS, "tokens", "mean length of a completion, EOS included", "stable, below the limit", "cannot be"),
        (FLAT_GROUP_SHARE, "0-1", "share of groups without advantage, such as those whose rewards are all equal: most learners skip them", "below 0.7", "every group teaches something"),
        (POSITIVES, "completions", "completions with an advantage above 0", "tens", "tempered: no hold on the entropy in this step"),
        (ANSWER_ENTROPY, "nats", f"entropy of the final answers that completions drawn at {law} give to a problem, mean over problems: Zhang's estimate, which corrects most of what a small group hides; absent where the environment tells no answers, as are counts of them", "falls as the right answer gets sure, above 0", "all completions of a problem give one answer, or none"),
        (PLUG_IN_ANSWER_ENTROPY, "nats", "the same from the shares in the group as they are: at most the logarithm of its size", "likewise", "likewise"),
        (DISTINCT_ANSWERS, "answers", f"expected number of different answers among {DISTINCT_AMONG} completions of a problem (all of a smaller group)", "likewise, above 1", "no completion gives an answer"),
        (DISTINCT_CORRECT_ANSWERS, "answers", f"the same of correct answers: pass@{DISTINCT_AMONG} where problems have one", "rises", "nothing solved"),
        (DISTINCT_CORRECT_PATHS, "paths", f"expected number of different ways to a correct answer among {DISTINCT_AMONG} completions of a problem; a way is the sequence of numbers and operators, see docs/evaluation.md", "rises", "nothing solved"),
        (PATH_DIVERSITY, "0-1", "share of pairs of correct completions of a problem that go different ways, mean over problems with two correct ones; it does not grow with accuracy", "as at the start; a fall is a collapse", "all correct completions of a problem are one, or no problem has two"),
        (TRUNCATED_SHARE, "0-1", "share of completions that hit max_new_tokens", "below 0.1", "every completion ended by itself"),
        *(
            (verdict_share(verdict), "0-1", f"share of completions judged {verdict.value.replace('_', ' ')}", "0 for timed_out and grader_crashed", "no such completion")
            for verdict in Verdict
        ),
    ]  # fmt: skip
    return [Documented(f"{name}/{figure[0]}", *figure[1:]) for figure in figures]


DOCUMENTED: list[Documented] = [
    *_stream(MAIN, "T = 1"),
    *_stream(TEMPERED, "the controller's temperature"),
    Documented(f"{CONTROL}/{ENTROPY}", "nats/token", "the entropy the controller read, by its entropy source", "near the target", "collapsed policy"),
    Documented(f"{CONTROL}/{TARGET_ENTROPY}", "nats/token", "the target of this step", "0.25-1 x base entropy", "cannot be"),
    Documented(f"{CONTROL}/{BASE_ENTROPY}", "nats/token", "entropy of the starting weights on training problems by the source that the dial reads, measured once", "constant", "a deterministic base model"),
    Documented(f"{CONTROL}/{CONTENT}", "nats/completion", "with entropy_source=content_surprisal in the place of control/entropy", "near the target", "one way through every problem"),
    Documented(f"{CONTROL}/{TARGET_CONTENT}", "nats/completion", "likewise, in the place of control/target_entropy", "0.25-1 x base", "cannot be"),
    Documented(f"{CONTROL}/{BASE_CONTENT}", "nats/completion", "likewise, in the place of control/base_entropy", "constant", "a deterministic base model"),
    Documented(f"{CONTROL}/{TEMPERATURE}", "1", "temperature of the tempered stream", "alternates around the target", "cannot be"),
    Documented(f"{CONTROL}/{HOT_SHARE}", "0-1", "share of the last 50 steps with a temperature above 1", "0.2-0.9 once the target is reached", "the dial only cools: it is settling, or at its stop"),
    Documented(f"{CONTROL}/{STUCK}", "0 or 1", "whether the temperature stays at one bound while the entropy stays off its target (a warning says what to change)", "0", "the dial has room"),
    Documented(f"{UPDATE}/{FIRST_RATIO_MAX_DEVIATION}", "1", "largest |pi/pi_engine - 1| over tokens in the first optimizer step of a batch", "below 1e-3 in float32", "the learner reproduces the engine exactly, or no row carried gradient"),
    Documented(f"{UPDATE}/{MISMATCH_GAP}", "nats/token", "mean |log pi_learner - log pi_engine| of the sampled tokens, in the first optimizer step of a batch: the mismatch of training and inference", "below 1e-4 in float32, below 0.05 in 16 bit", "no row carried gradient"),
    Documented(f"{UPDATE}/{MISMATCH_LARGEST_GAP}", "nats", "largest such difference of a token", "below 1e-3 in float32, below 2 in 16 bit", "no row carried gradient"),
    Documented(f"{UPDATE}/{MISMATCH_KL}", "nats/token", "k3 estimate of KL(pi_engine || pi_learner) over the same tokens", "below 1e-6 in float32, below 1e-2 in 16 bit", "no row carried gradient"),
    Documented(f"{UPDATE}/{CAPPED_SHARE}", "0-1", "share of the tokens of main rows with gradient whose importance weight was cut to `importance_cap`; only with a cap", "below 0.01", "the cap touches nothing"),
    Documented(f"{UPDATE}/{PROBE_MEAN_GAP}", "nats/token", "mean |log pi_engine - log pi_learner| on the probe after the weight update, worst env runner; only where a probe is asked (`probe_rows`)", "below 1e-4 in float32", "the engine computes just as the learner"),
    Documented(f"{UPDATE}/{PROBE_LARGEST_GAP}", "nats", "largest |log pi_engine - log pi_learner| of a probe token, worst env runner", "below 1e-3 in float32", "likewise"),
    Documented(f"{UPDATE}/{SURPRISAL}", "nats/token", "minus the T = 1 log-prob of the main rows during the update, aggregated as the loss is, mean of the optimizer steps; only with `skip_flat_rows=False`", "close to main/sampled_surprisal", "deterministic policy"),
    Documented(f"{UPDATE}/{TRAINED_ROWS}", "rows", "completions that went through the learner's forward pass", "a fair share of the batch", "no gradient at all in this step"),
    Documented(f"{LEARNER}/{loss_of('main')}", "nats", "the term over the completions at T = 1, aggregated as configured", "near 0 at first, as advantages have mean 0", "no row carried gradient"),
    Documented(f"{LEARNER}/{loss_of('tempered')}", "nats", "alpha times the tempered term; only of methods that have one", "positive: minus a log-prob", "no positives"),
    Documented(f"{LEARNER}/{RATIO_MAX_DEVIATION}", "1", "largest |pi/pi_engine - 1| over trained tokens", "below a few units", "one optimizer step per batch"),
    Documented(f"{LEARNER}/{LOGP_GAP}", "nats/token", "mean |log pi - log pi_engine| over trained tokens", "below 0.1", "one optimizer step per batch"),
    Documented(f"{LEARNER}/{KL_OLD_TO_NEW}", "nats/token", "k3 estimate of KL(pi_engine || pi) over trained tokens", "below 0.01", "one optimizer step per batch"),
    Documented(f"{LEARNER}/gradients_default_optimizer_global_norm", "1", "norm of the gradient before clipping", "stable", "no row carried gradient"),
    Documented(f"{LEARNER}/default_optimizer_learning_rate", "1", "learning rate", "as configured", "nothing is learned"),
    Documented(f"{EVALUATION}/{PASS_AT_1}", "0-1", "share of validation completions at T = 1 that are correct, every `evaluation_interval` steps", "rises", "nothing solved"),
    Documented(f"{THROUGHPUT}/{COMPLETIONS_PER_SECOND}", "1/s", "completions of both streams per second of the whole step", "-", "cannot be"),
    Documented(f"{THROUGHPUT}/{SAMPLING_SECONDS}", "s", "from asking the env runners to having all episodes", "most of a step", "cannot be"),
    Documented(f"{THROUGHPUT}/{GENERATION_SECONDS}", "s", "slowest runner's time in the rollout engine", "close to sampling_seconds", "cannot be"),
    Documented(f"{THROUGHPUT}/{GRADING_SECONDS}", "s", "slowest runner's time in the environment after its last completion; what was judged while others were sampled costs none", "small", "cannot be"),
    Documented(f"{THROUGHPUT}/{LEARNING_SECONDS}", "s", "all optimizer steps of the batch, and with `importance_cap` the scoring pass before them", "-", "cannot be"),
    Documented(f"{THROUGHPUT}/{SYNC_SECONDS}", "s", "weights from learner to env runners, and the probe", "small", "cannot be"),
    Documented(f"{THROUGHPUT}/{HEALTHY_ENV_RUNNERS}", "env runners", "remote env runners that answer; 1 where the algorithm's own process samples", "`num_env_runners`", "the run stops"),
]  # fmt: skip


OF_SOME_METHODS: list[Documented] = [
    Documented(f"{CONTROL}/{COEFFICIENT}", "1", "coefficient of the term that a dial turns; only of such methods", "moves as the entropy does", "the term is off"),
    Documented(f"{CONTROL}/{REJECTED_SIGN}", "-1, 0 or 1", "sign of the advantages that are rejected: 1 heats, -1 cools; only of methods that reject by it", "0 within the band", "nothing is rejected"),
    *(
        Documented(f"{stream}/{figure[0]}", *figure[1:])
        for stream in (MAIN, TEMPERED)
        for figure in (
            (GATED_SHARE, "0-1", "share of groups whose problem is solved too often to weigh anything; only with `solved_gate` or `boundary_k`", "rises with the reward", "every problem weighs something"),
            (GATE_WEIGHT, "0-1", "mean weight of a group's problem; likewise", "falls as the reward rises", "nothing is learned from"),
        )
    ),
    Documented(f"{CONTROL}/{POSITIVE_SHARE}", "0-1", "weight of the tempered law in the advantages of correct completions; only of methods that weigh by it", "below 0.1, and near 0 at the target", "no correct completion, or the entropy at its target"),
    Documented(f"{THROUGHPUT}/{SAMPLING_ROUNDS}", "rounds", "batches of problems that were asked until there was one of groups with unequal rewards; only of methods that sample so", "1-4", "cannot be"),
    Documented(f"{LEARNER}/{loss_of('kl')}", "nats", "`kl_coefficient` times the mean KL divergence from the starting weights per token; only with such a coefficient", "rises slowly from 0", "the policy is where it started"),
    Documented(f"{LEARNER}/{loss_of('penalty')}", "nats", "the penalty on moving tokens whose advantage and log-prob vary together; only of methods that have the term", "near 0", "one optimizer step per batch"),
    Documented(f"{LEARNER}/{loss_of('anchored')}", "nats", "the entropy of uncertain tokens times the slope of its squared distance from the first batch's; only of methods that have the term", "near 0", "the entropy is where it started"),
    Documented(f"{LEARNER}/{loss_of('sure')}", "1", "coefficient times the mean of ratio times |advantage| over the tokens that the policy is sure of; only of methods that have the term", "of the coefficient's sign", "the coefficient is 0, or no token is sure"),
    Documented(f"{LEARNER}/{loss_of('entropy')}", "nats", "minus the coefficient times the mean entropy per token; only of methods that have the term", "minus coefficient times main/exact_entropy", "the coefficient is 0"),
    Documented(f"{CONTROL}/{FILTERED_ENTROPY}", "nats/token", "what `controller=steady` takes the entropy to be, from all that it has seen", "near the target", "collapsed policy"),
    Documented(f"{CONTROL}/{FILTER_DELAY}", "steps", "after how many steps it believes a change that it could not foresee", "3-15", "before the first step"),
    Documented(f"{CONTROL}/{ENTROPY_NOISE}", "nats/token", "standard deviation of a batch's entropy around the policy's", "below 5 % of the entropy: larger batches have less", "cannot be"),
    Documented(f"{CONTROL}/{PULL}", "nats/token", "what a step changes without the tempered term: GRPO's pull, and what else there is", "-0.01-0.002", "nothing pulls"),
    Documented(f"{CONTROL}/{GAIN}", "1", "change of entropy per unit that the tempered term asks for to first order", "0.3-1.5", "no grip on the entropy; below 0: heat cools, and a warning says so"),
    Documented(f"{CONTROL}/{GAIN_ERROR}", "1", "its standard error", "below the gain", "before the first step"),
    Documented(f"{CONTROL}/{AUTHORITY}", "nats/token", "what the tempered term asks for, per unit of temperature near 1: share of correct completions times tempering gain", "0.005-0.05", "a policy that no temperature moves"),
    Documented(f"{CONTROL}/{HOTTEST}", "1", "the hottest temperature that pays: beyond, more correct completions are lost than each is worth", "1.3-1.6", "cannot be"),
    Documented(f"{CONTROL}/{STRENGTH}", "1", "factor on alpha: above 1 where a temperature within the bounds is not enough", "1 once the target is reached", "cannot be"),
    Documented(f"{CONTROL}/{REACH_LOW}", "nats/token", "where `patience` steps with all that it has would take the entropy downwards, at today's pace", "below the target", "a fast dial; may be negative"),
    Documented(f"{CONTROL}/{REACH_HIGH}", "nats/token", "likewise upwards", "above the target; below it once collapsed: a warning says so", "cannot be"),
]  # fmt: skip
"""Those that only a run of a method with such a part has."""

BAR = r"\|"
"""A vertical bar inside a cell of a Markdown table."""


def as_markdown() -> str:
    """The text of docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "Generated by `python -m aepo_rllib.metrics_page > docs/metrics.md`; a test keeps it true. All figures belong to one",
        "training step and are not smoothed. `learner/...` are means over the optimizer steps of a batch (the ratio's",
        "deviation: their maximum); in RLlib's result they stand under `learners/default_policy`, and evaluation under",
        "`evaluation/env_runners`. RLlib's own metrics (`env_runners/...`, `timers/...`) come beside them.",
        "",
        "| metric | unit | meaning | healthy | 0 means |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {' | '.join(cell.replace('|', BAR) for cell in (f'`{m.key}`', *m[1:]))} |"
            for m in (*DOCUMENTED, *OF_SOME_METHODS)
        ),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(as_markdown(), end="")
