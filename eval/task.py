"""The lm-eval task class behind every suite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import lru_cache
from typing import Any

from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml  # what TaskManager reads the same file with

from aepo_rllib.envs.prompts import get_template
from aepo_rllib.eval.data import DEFAULT_TEMPLATE, turns_of
from aepo_rllib.eval.passk import powers_of_two
from aepo_rllib.eval.sampling import models  # noqa: F401 - makes `lm_eval --model aepo-hf --tasks FILE.yaml` find it
from aepo_rllib.eval.scoring import diversity, majority, pass_at_ks
from aepo_rllib.eval.suites.catalogue import SHIPPED_FOLDER


@lru_cache(maxsize=1)
def _shared_config() -> dict[str, Any]:
    return load_yaml(SHIPPED_FOLDER / "_passk_yaml")


def shared_config() -> dict[str, Any]:
    """What every suite shares, as lm-eval reads it; a copy."""
    return deepcopy(_shared_config())


class PassAtKTask(ConfigurableTask):
    """A task whose prompt, number of samples and values of k can be set for one run.

    lm-eval has no option for these, so they travel in the metadata: `--metadata '{"repeats": 256, "k": [1, 256]}'` on
    its command line, `TaskManager(metadata=...)` in Python. The keys are `template` (the name of a prompt template,
    whose text becomes the prompt), `repeats`, `k`, and `grader` (see `aepo_rllib.eval.data.load_docs`).

    Args:
        config: The task's configuration, as lm-eval builds it from the YAML file. What it does not say is as in
            `_passk_yaml`, so that a suite of one's own needs no copy of that.

    Raises:
        ValueError: unknown template or grader, or a k above the number of samples.
    """

    reads_turns = False
    """Whether the model puts the turns of a document into its prompts by itself."""

    def __init__(self, config: dict[str, Any]) -> None:
        metadata = config.get("metadata") or {}
        shared = shared_config()
        generation = shared["generation_kwargs"] | config.get("generation_kwargs", {})
        config = {key: value for key, value in (shared | config).items() if key != "class"}
        config["generation_kwargs"] = generation
        n = config["repeats"] = int(metadata.get("repeats", config.get("repeats", 1)))
        ks = metadata.get("k") or powers_of_two(n)
        if max(ks) > n or min(ks) < 1:
            raise ValueError(f"{config.get('task')}: every k must be in 1..n, and n is {n} ({list(ks)}); raise repeats")
        config.setdefault("doc_to_text", _Prompt(str(metadata.get("template", DEFAULT_TEMPLATE))))
        config["metric_list"] = [_with_arguments(metric, n, ks) for metric in config["metric_list"]]
        super().__init__(config=config)

    def fewshot_context(
        self,
        doc: dict[str, Any],
        num_fewshot: int,
        system_instruction: str | None = None,
        apply_chat_template: bool = False,
        fewshot_as_multiturn: bool = False,
        chat_template: Callable[..., str] | None = None,
        gen_prefix: str | None = None,
    ) -> Any:
        """The prompt; where a chat goes before the problem, that chat in the model's own format.

        Raises:
            ValueError: there is such a chat, and no chat template to write it with.
        """
        turns = turns_of(doc)
        # lm-eval hands over the method of its model.
        carried = self.reads_turns or getattr(getattr(chat_template, "__self__", None), "reads_turns", False)
        if not turns or carried:
            return super().fewshot_context(
                doc,
                num_fewshot,
                system_instruction,
                apply_chat_template,
                fewshot_as_multiturn,
                chat_template,
                gen_prefix,
            )
        place = f"{self.config.task}: problem {doc['id']!r} has turns of a chat before it"
        if not apply_chat_template or chat_template is None:
            raise ValueError(f"{place}; add --apply_chat_template, or evaluate it with `aepo eval`")
        if num_fewshot or gen_prefix:
            raise ValueError(f"{place}, which leave no place for few-shot examples or a beginning of the answer")
        system = [("system", system_instruction)] if system_instruction else []
        chat = [*system, *turns, ("user", self.doc_to_text(doc))]
        return chat_template([{"role": role, "content": content} for role, content in chat])


class _Prompt:
    """`doc_to_text` of a template: the problem inside the template's text, without its frame."""

    def __init__(self, template: str) -> None:
        self.template = get_template(template)
        self.__name__ = f"prompt_{self.template.name}"

    def __call__(self, doc: dict[str, str]) -> str:
        return self.template.render(doc["problem"])

    def __repr__(self) -> str:
        """What lm-eval writes into its results."""
        return f"prompt template {self.template.name}: {self.template.text!r}"


def _with_arguments(metric: dict[str, Any], n: int, ks: Sequence[int]) -> dict[str, Any]:
    """A metric entry that knows what is asked for, whatever number of samples a problem turns out to have."""
    at_ks = {"k": list(ks)}
    arguments: dict[Any, dict[str, Any]] = {pass_at_ks: at_ks, diversity: at_ks, majority: {"n": n}}
    return metric | arguments.get(metric["metric"], {})
