"""Names of all metrics that this package logs; `metrics_page` says what they mean.

Keys are tuples, nested in RLlib's results and joined by "/" in files. Figures of one training step are logged
unsmoothed (`window=1`), because the plots need them so.
"""

from __future__ import annotations

from aepo_rllib.envs.verdict import Verdict

MAIN = "main"
TEMPERED = "tempered"
CONTROL = "control"
UPDATE = "update"
THROUGHPUT = "throughput"
LEARNER = "learner"
EVALUATION = "evaluation"

SECTIONS = frozenset(
    {CONTROL, UPDATE, THROUGHPUT, LEARNER, EVALUATION, "learners", "env_runners", "timers", "config", "fault_tolerance"}
)
"""Sections of a result that are no stream's."""

# Names inside a stream of completions ("main" or "tempered").
REWARD_MEAN = "reward_mean"
EXACT_ENTROPY = "exact_entropy"
SAMPLED_SURPRISAL = "sampled_surprisal"
CONTENT_SURPRISAL = "content_surprisal"
STYLE_SURPRISAL = "style_surprisal"
ENTROPY_SLOPE = "entropy_slope"
TEMPERING_GAIN = "tempering_gain"
COMPLETION_TOKENS = "completion_tokens"
TRUNCATED_SHARE = "truncated_share"
FLAT_GROUP_SHARE = "flat_group_share"
POSITIVES = "positives"
GATED_SHARE = "gated_share"
GATE_WEIGHT = "gate_weight"
DISTINCT_AMONG = 4
"""How many completions of a problem those figures are about that count what is distinct among them. Fewer than there
are in a group: the estimate is steadier, and runs with other groups compare."""
ANSWER_ENTROPY = "answer_entropy"
PLUG_IN_ANSWER_ENTROPY = "answer_entropy_plug_in"
DISTINCT_ANSWERS = f"distinct_answers@{DISTINCT_AMONG}"
DISTINCT_CORRECT_ANSWERS = f"distinct_correct_answers@{DISTINCT_AMONG}"
DISTINCT_CORRECT_PATHS = f"distinct_correct_paths@{DISTINCT_AMONG}"
PATH_DIVERSITY = "path_diversity"

UPDATE_SURPRISAL = "update_surprisal"
"""Name of the entropy source that reads "update/surprisal"."""

# Names inside "control".
HOT_SHARE = "hot_share"
STUCK = "stuck"
ENTROPY = "entropy"
TARGET_ENTROPY = "target_entropy"
BASE_ENTROPY = "base_entropy"
CONTENT, TARGET_CONTENT, BASE_CONTENT = "content", "target_content", "base_content"
"""In the places of these three where the content is read: in nats per completion, and a metric has one unit."""
TEMPERATURE = "temperature"
COEFFICIENT = "coefficient"
REJECTED_SIGN = "rejected_sign"
POSITIVE_SHARE = "positive_share"
FILTERED_ENTROPY = "filtered_entropy"
FILTER_DELAY = "filter_delay"
ENTROPY_NOISE = "entropy_noise"
PULL = "pull"
GAIN = "gain"
GAIN_ERROR = "gain_error"
AUTHORITY = "authority"
HOTTEST = "hottest_temperature"
STRENGTH = "strength"
REACH_LOW = "reach_low"
REACH_HIGH = "reach_high"

# Names of the learner.
RATIO_MAX_DEVIATION = "ratio_max_deviation"
KL_OLD_TO_NEW = "kl_old_to_new"
LOGP_GAP = "logp_gap"
LARGEST_LOGP_GAP = "largest_logp_gap"
TRAINED_TOKENS = "trained_tokens"
SURPRISAL = "surprisal"
GRADIENT_FINITE = "gradient_finite"
FIRST_RATIO_MAX_DEVIATION = "first_ratio_max_deviation"
MISMATCH_GAP = "mismatch_logp_gap"
MISMATCH_LARGEST_GAP = "mismatch_largest_logp_gap"
MISMATCH_KL = "mismatch_kl"
CAPPED_SHARE = "importance_capped_share"
PROBE_MEAN_GAP = "probe_mean_gap"
PROBE_LARGEST_GAP = "probe_largest_gap"

# Names inside "throughput".
COMPLETIONS_PER_SECOND = "completions_per_second"
GENERATION_SECONDS = "generation_seconds"
GRADING_SECONDS = "grading_seconds"
SAMPLING_SECONDS = "sampling_seconds"
LEARNING_SECONDS = "learning_seconds"
SYNC_SECONDS = "sync_seconds"
TRAINED_ROWS = "trained_rows"
SAMPLING_ROUNDS = "sampling_rounds"
HEALTHY_ENV_RUNNERS = "healthy_env_runners"

# Names of evaluation results, under evaluation/env_runners.
PASS_AT_1 = "pass@1"
NUM_CORRECT = "num_correct"
RETURN_SUM = "episode_return_sum"


LOGGED_ENTROPIES = (f"{MAIN}/{EXACT_ENTROPY}", f"{MAIN}/{SAMPLED_SURPRISAL}")
"""Keys of a record that tell the entropy of T = 1 completions, the better one first."""
LOGGED_PASS_AT_1 = f"{EVALUATION}/{PASS_AT_1}"
"""Key of a record that tells the score of a validation."""


def by_source(name: str, source: str) -> str:
    """Name of an entropy that the dial reads, its target or base, by the source that it reads."""
    of_content = {ENTROPY: CONTENT, TARGET_ENTROPY: TARGET_CONTENT, BASE_ENTROPY: BASE_CONTENT}
    return of_content[name] if source == CONTENT_SURPRISAL else name


def loss_of(term: str) -> str:
    """Name of a term's value in the learner results."""
    return f"{LOSS}{term}"


LOSS = "loss_"
LEARNER_METRICS = (
    RATIO_MAX_DEVIATION,
    KL_OLD_TO_NEW,
    LOGP_GAP,
    "gradients_default_optimizer_global_norm",
    "default_optimizer_learning_rate",
)
"""What the command line keeps of the learner's own results, besides the terms of the loss: means over the optimizer
steps of a batch, the ratio's deviation as their maximum."""


def verdict_share(verdict: Verdict) -> str:
    """Name of the share of completions with this verdict."""
    return f"verdict_{verdict.value}"
