"""Names of config keys that are not known here: the nearest one that is, and what other libraries call ours."""

from __future__ import annotations

from collections.abc import Iterable

from aepo_rllib.support.arguments import unknown

ELSEWHERE = {
    "learning_rate": "lr",
    "num_generations": "group_size",
    "rollout_n": "group_size",
    "n_samples_per_prompt": "group_size",
    "per_device_train_batch_size": "batch_size (prompts a step), and rows_per_backward for memory",
    "rollout_batch_size": "batch_size",
    "gradient_accumulation_steps": "rows_per_backward or tokens_per_backward, which bound memory",
    "max_completion_length": "max_new_tokens",
    "max_response_length": "max_new_tokens",
    "max_tokens": "max_new_tokens",
    "max_grad_norm": "grad_clip",
    "num_iterations": "num_epochs",
    "num_train_epochs": "steps",
    "max_steps": "steps",
    "num_steps": "steps",
    "total_timesteps": "steps",
    "epsilon": "clip_low and clip_high",
    "epsilon_low": "clip_low",
    "epsilon_high": "clip_high",
    "cliprange": "clip_low and clip_high",
    "clip_param": "clip_low and clip_high",
    "clip_ratio": "clip_low and clip_high",
    "beta": "kl_coefficient",
    "kl_coeff": "kl_coefficient",
    "loss_type": "aggregation, or another --algo",
    "loss_agg_mode": "aggregation",
    "kl_coef": "kl_coefficient",
    "model_name_or_path": "model_path (--model)",
    "pretrained": "model_path (--model)",
    "dataset": "env_config.problems (--problems)",
    "dataset_name": "env_config.problems (--problems)",
    "train_files": "env_config.problems (--problems)",
    "data": "env_config.problems (--problems)",
    "output_dir": "--output",
    "save_steps": "checkpoint_every",
    "save_total_limit": "keep_checkpoints",
    "eval_steps": "evaluation_interval",
    "lora_r": "lora_rank",
    "lora_dropout": "lora_rank and lora_alpha; adapters have no dropout here",
    "temperature": "temperature_low and temperature_high of the tempered samples; the policy is sampled at T = 1",
    "entropy_coeff": "entropy_coefficient, with --algo entropy_reg",
    "entropy_coef": "entropy_coefficient, with --algo entropy_reg",
    "use_vllm": "engine=vllm (--engine)",
    "gpu_memory_utilization": "engine_options.gpu_memory_utilization",
    "tensor_parallel_size": "engine_options.tensor_parallel_size",
    "num_rollout_workers": "num_env_runners",
    "bf16": "dtype=bfloat16",
    "report_to": "track (--track)",
    "logger": "track (--track)",
    "wandb": "track=[wandb] (--track wandb)",
    "mlflow": "track=[mlflow] (--track mlflow)",
}
"""What TRL, verl, OpenRLHF and RLlib's older algorithms call it, and what does it here."""


def unknown_key(key: str, known: Iterable[str]) -> str:
    """The message about a config key that is not known."""
    if cure := ELSEWHERE.get(key):
        return f"unknown config key {key!r}; here it is {cure}"
    return unknown("config key", key, known)
