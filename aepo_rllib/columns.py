"""Names of what travels: extra model outputs of an episode, and columns of a train batch.

Every log-prob says which law it belongs to. Shapes: N rows, L prompt tokens (left-padded), T completion tokens
(right-padded).
"""


class Columns:
    """Column names. The first block doubles as keys of `SingleAgentEpisode.extra_model_outputs`."""

    PROMPT_IDS = "prompt_ids"
    """Prompt token ids, (N, L)."""
    COMPLETION_IDS = "completion_ids"
    """Completion token ids, EOS included, (N, T)."""
    POLICY_LOGP = "policy_logp"
    """Log-prob under the policy that sampled, at T = 1 and without filters, by the engine that sampled, (N, T)."""
    BEHAVIOR_LOGP = "behavior_logp"
    """Log-prob under the law that was sampled from (tempered, filtered), (N, T)."""
    ENTROPY = "policy_entropy"
    """Exact entropy of the policy at T = 1, in nats, (N, T)."""
    CORE_ENTROPY = "policy_core_entropy"
    """Exact entropy within the likeliest tokens alone, see `objectives.entropy.core_log_probs`, (N, T)."""
    LOGIT_VARIANCE = "policy_logit_variance"
    """Variance of the policy's logits under itself, (N, T)."""
    TEMPERING_GAIN = "policy_tempering_gain"
    """What heating rewarded samples does to the policy's entropy, see `objectives.entropy.tempering_gain`, (N, T)."""
    HEATED_LOGP = "heated_logp"
    """Log-prob under the policy with its logits divided by a temperature, (N, T)."""
    TEMPERATURE = "temperature"
    """That temperature, (N,); absent where it is 1 everywhere."""
    REF_LOGP = "ref_logp"
    """Log-prob under a reference policy that is not trained, (N, T)."""
    CONTENT = "content_tokens"
    """True on tokens that are numbers or operators, see `models.content_tokens`, (N, T)."""
    FINISH_REASON = "finish_reason"
    """Why the completion ended, one per row."""

    PROMPT_MASK = "prompt_mask"
    """True on real prompt tokens, (N, L)."""
    COMPLETION_MASK = "completion_mask"
    """True on real completion tokens, (N, T)."""
    PROMPT_INDEX = "prompt_index"
    """Rows with the same index share their prompt, (N,)."""
    OLD_LOGP = "old_logp"
    """Log-prob under the same weights, by the learner where it was asked, else by the engine: the ratio's denominator,
    (N, T)."""
    ADVANTAGE = "advantage"
    """The advantage, in most methods one number per completion, (N, T)."""
    STREAM = "stream"
    """Place of the row's stream among those of the method, (N,)."""
    WEIGHT = "loss_weight"
    """What the row's summed token losses are multiplied by in each of the K terms, 0 in those of other streams,
    (N, K)."""
    FACTOR = "loss_factor"
    """What the token's loss is multiplied by in each term, (N, K, T); absent where it is 1 everywhere."""
    PASS = "pass"
    """Number of the forward and backward pass that the row goes through the model in, (N,); absent where there is
    but one."""
    MEAN_WEIGHT = "mean_weight"
    """What turns a row's token sum into the mean over the main stream, times the learners, (N,)."""
