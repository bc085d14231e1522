"""GRPO by TRL's `GRPOTrainer` on the common workload; prints one JSON line of per-batch figures.

    PYTHONPATH=benchmarks python benchmarks/peers/trl_grpo.py --steps 20 --threads 1

Held equal with `ours_grpo.py`: model, tokenizer, float32; the prompts of every batch and their order; group
size, completion limit, T = 1 without filters; the verifier; two optimizer steps a batch on half of its completions
each; AdamW, learning rate, clipping of ratio and gradient; token mean; no KL term; no dropout.

Not equal: random numbers, hence completions; TRL shuffles the batch's rows before it splits them, ours splits by
groups; TRL's mean counts tokens of the whole batch, ours those of the optimizer step. Settings that would slow TRL
down here are off: gradient checkpointing, bfloat16, logging, checkpoints, data loader workers, a pinned loader.
"""

from __future__ import annotations

import tempfile
import time
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback
from transformers.utils import logging
from trl import GRPOConfig, GRPOTrainer
from workload import Workload, durations, report, run_arguments

from aepo_rllib.envs.grading import Grader
from aepo_rllib.models.hf import load_model, load_tokenizer


class TimedTrainer(GRPOTrainer):
    """`GRPOTrainer` with a stop watch around the parts of its batch preparation."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.seconds: dict[str, list[float]] = {"generation": [], "grading": [], "scoring": [], "preparation": []}
        super().__init__(*args, **kwargs)

    def _generate(self, *args: Any, **kwargs: Any) -> Any:
        return self._timed("generation", super()._generate, *args, **kwargs)

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Any:
        return self._timed("grading", super()._calculate_rewards, *args, **kwargs)

    def _generate_and_score_completions(self, *args: Any, **kwargs: Any) -> Any:
        return self._timed("preparation", super()._generate_and_score_completions, *args, **kwargs)

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        score = super()._get_per_token_logps_and_entropies
        if torch.is_grad_enabled():  # a loss, not the scoring of a fresh batch
            return score(*args, **kwargs)
        return self._timed("scoring", score, *args, **kwargs)

    def _timed(self, name: str, function: Any, *args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        result = function(*args, **kwargs)
        self.seconds[name].append(time.perf_counter() - started)
        return result


class BatchClock(TrainerCallback):
    """A time stamp after every batch, that is after every `updates` optimizer steps."""

    def __init__(self, updates: int) -> None:
        self.updates = updates
        self.stamps: list[float] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.stamps.append(time.perf_counter())

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self.updates == 0:
            self.stamps.append(time.perf_counter())


class Reward:
    """The verifier of our environment as a reward function; notes what it sees."""

    __name__ = "verifier"

    def __init__(self, work: Workload, batches: int) -> None:
        self.grader = Grader()
        self.problems = work.problems(batches)
        self.seen: dict[str, list[float]] = {"tokens_per_completion": [], "reward": [], "completions": []}

    def __call__(
        self, completions: list[str], completion_ids: list[list[int]], position: list[int], **_: Any
    ) -> list[float]:
        grades = self.grader.grade_batch([self.problems[index] for index in position], completions)
        rewards = [grade.verdict.reward for grade in grades]
        self.seen["tokens_per_completion"].append(sum(map(len, completion_ids)) / len(completion_ids))
        self.seen["reward"].append(sum(rewards) / len(rewards))
        self.seen["completions"].append(len(completions))
        return rewards


def config(work: Workload, batches: int, folder: str) -> GRPOConfig:
    return GRPOConfig(
        output_dir=folder,
        max_steps=batches * work.updates,
        # One generation of 128 rows, consumed by 2 optimizer steps of 64.
        per_device_train_batch_size=work.completions // work.updates,
        gradient_accumulation_steps=1,
        steps_per_generation=work.updates,
        num_iterations=1,
        num_generations=work.group_size,
        max_completion_length=work.max_new_tokens,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        beta=0.0,
        loss_type="dapo",
        epsilon=work.clip,
        scale_rewards="group",
        learning_rate=work.lr,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=work.grad_clip,
        shuffle_dataset=False,
        seed=work.seed,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def split(steps: list[float], seconds: dict[str, list[float]]) -> dict[str, list[float]]:
    """Parts of every batch, which add up to `step`.

    `learning` is all that happens outside of TRL's batch preparation, and `scoring`: TRL takes the old log-probs by a
    forward pass of their own. `rest` is what else the preparation does.
    """
    named = ("generation", "grading", "scoring", "preparation")
    rows = list(zip(steps, *(seconds[name] for name in named), strict=True))
    return {
        **{name: seconds[name] for name in named[:3]},
        "learning": [step - preparation + scoring for step, _, _, scoring, preparation in rows],
        "rest": [preparation - sum(timed) for _, *timed, preparation in rows],
    }


def main() -> None:
    arguments = run_arguments(__doc__).parse_args()
    torch.set_num_threads(arguments.threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    work, batches = Workload.of(arguments), arguments.warmup + arguments.steps
    reward, clock = Reward(work, batches), BatchClock(work.updates)
    rows = [{"prompt": problem.text, "position": index} for index, problem in enumerate(reward.problems)]
    with tempfile.TemporaryDirectory() as folder:
        trainer = TimedTrainer(
            model=load_model(work.model),
            processing_class=load_tokenizer(work.model),
            reward_funcs=reward,
            args=config(work, batches, folder),
            train_dataset=Dataset.from_list(rows),
            callbacks=[clock],
        )
        trainer.train()
    figures = {"step": durations(clock.stamps), **reward.seen, "trained_rows": reward.seen["completions"]}
    figures |= split(figures["step"], trainer.seconds)
    report(figures, warmup=arguments.warmup)


if __name__ == "__main__":
    main()
