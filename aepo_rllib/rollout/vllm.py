"""`VLLMEngine`: vLLM's offline engine behind the interface, in the process that asks.

Log-probs come in vLLM's "raw" mode: those of the policy at T = 1, whatever temperature and filters a completion was
drawn with, which is what the objective's ratio needs. vLLM shows no logits, so there is no exact entropy, and no
log-prob under the tempered law.

Install it with `pip install aepo-rllib[vllm]` for CUDA; docs/vllm.md says how to get a build for the CPU.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import weakref
from collections.abc import Mapping, Sequence
from itertools import chain, islice
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from aepo_rllib.models.hf import ModelError, context_length, load_model, reason_of, resolve_model
from aepo_rllib.models.named_weights import check_names, with_second_names
from aepo_rllib.rollout.engine import (
    NO_FILTERS,
    Completion,
    Ended,
    FinishReason,
    Prompt,
    RolloutEngine,
    SamplingFilters,
)
from aepo_rllib.rollout.vllm_import import import_vllm
from aepo_rllib.support.options import Option, count
from aepo_rllib.transfer.shared_memory import share

DTYPES = ("float32", "bfloat16", "float16")
WORKER_EXTENSION = "aepo_rllib.rollout.vllm_worker.Registration"
WEIGHT_TRANSFER = "aepo_host"
"""Name, within vLLM's weight-transfer API, of the transport that the extension's module registers."""


class _Request(NamedTuple):
    """One of vLLM's, for one completion or several: its prompt's place, and that of the first among the prompt's."""

    token_ids: list[int]
    params: Any
    exact_law: bool
    prompt: int
    sample: int


class VLLMEngine(RolloutEngine):
    """Samples with vLLM.

    Every completion is a request with a seed of its own, taken from its key, so that neither the batch nor its order
    matters; prefix caching shares the prompt among them. (vLLM itself fans `n` out into single requests.)

    Args:
        model: Hugging Face folder or id.
        dtype: "float32", "bfloat16" or "float16".
        max_model_len: Most tokens of prompt and completion together; default the model's context.
        max_num_seqs: Most completions at a time.
        gpu_memory_utilization: Share of the GPU's memory that vLLM takes. Below 0.5 beside a learner.
        tensor_parallel_size: GPUs that share the model.
        enforce_eager: Without CUDA graphs: slower, but starts at once. Always so on the CPU.
        seeded: Without, vLLM's own generator draws, `n` goes to it natively, and nothing is reproducible.

    Raises:
        aepo_rllib.models.hf.ModelError: the model cannot be read.
        ImportError: vLLM is not installed.
        RuntimeError: there is one in this process already.
        ValueError: a dtype that vLLM does not know.
    """

    OPTIONS: ClassVar[dict[str, Option]] = {
        "max_model_len": count(optional=True),
        "max_num_seqs": count(),
        "gpu_memory_utilization": Option(float, above=0, most=1),
        "tensor_parallel_size": count(),
    }
    NEEDS: ClassVar[Mapping[str, str]] = {"vllm": "pip install 'aepo-rllib[vllm]', or see docs/vllm.md for the CPU"}
    own_model = one_per_process = tells_ends = True
    _open: ClassVar[weakref.WeakSet[VLLMEngine]] = weakref.WeakSet()

    def __init__(
        self,
        model: str,
        *,
        dtype: str = "float32",
        max_model_len: int | None = None,
        max_num_seqs: int = 256,
        gpu_memory_utilization: float = 0.8,
        tensor_parallel_size: int = 1,
        enforce_eager: bool = False,
        seeded: bool = True,
    ) -> None:
        if dtype not in DTYPES:
            raise ValueError(f"vLLM computes in {', '.join(DTYPES)}, not in {dtype}")
        self.context_length = min(filter(None, (context_length(model), max_model_len)), default=None)
        self.seeded = self.reproducible = seeded
        self._shape = load_model(model, device="meta")
        self._in_process = tensor_parallel_size == 1
        vllm = import_vllm()
        if VLLMEngine._open:
            raise RuntimeError("this process has a VLLMEngine already; close it first, two would wait for each other")
        on_cpu = vllm.platforms.current_platform.is_cpu()
        self._can_sleep = not on_cpu
        try:
            self._llm = vllm.LLM(
                model=resolve_model(model),
                dtype=dtype,
                max_model_len=self.context_length,
                max_num_seqs=max_num_seqs,
                # Prompts are never split: on the CPU a seeded request whose prompt was ends the engine (0.32).
                enable_chunked_prefill=not on_cpu,
                max_num_batched_tokens=max(self.context_length or 0, 8192) if on_cpu else None,
                gpu_memory_utilization=gpu_memory_utilization,
                tensor_parallel_size=tensor_parallel_size,
                distributed_executor_backend="uni" if self._in_process else "mp",  # with Ray's, on other machines too
                enforce_eager=enforce_eager or on_cpu,
                enable_sleep_mode=self._can_sleep,
                enable_prefix_caching=True,
                logprobs_mode="raw_logprobs",
                skip_tokenizer_init=True,
                load_format="safetensors",
                trust_remote_code=False,
                worker_extension_cls=WORKER_EXTENSION,
                weight_transfer_config={"backend": WEIGHT_TRANSFER},
                seed=0 if seeded else secrets.randbits(31),  # of its own generator, which always starts alike
            )
        except (OSError, ValueError) as error:
            raise ModelError(f"vLLM cannot run model {model!r}: {reason_of(error)}") from error
        VLLMEngine._open.add(self)

    @classmethod
    def from_pretrained(cls, model: str, *, dtype: str = "float32", device: str = "cpu", **options: Any) -> VLLMEngine:
        """See `RolloutEngine.from_pretrained`. vLLM takes the device that its build is for."""
        return cls(model, dtype=dtype, **options)

    @classmethod
    def context_limit(cls, options: Mapping[str, Any]) -> int | None:
        """What `max_model_len` says."""
        return options.get("max_model_len")

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int,
        stop_ids: Sequence[int],
        filters: SamplingFilters = NO_FILTERS,
        ended: Ended | None = None,
    ) -> list[list[Completion]]:
        """See `RolloutEngine.generate`. Completions of one request end together where `seeded` is off."""
        self.check(prompts, max_new_tokens)
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        requests = []
        for place, prompt in enumerate(prompts):
            shared = {
                "temperature": prompt.temperature,
                "top_p": filters.top_p,
                "top_k": filters.top_k,
                "min_p": filters.min_p,
                "max_tokens": max_new_tokens,
                "stop_token_ids": list(stop_ids),
                "ignore_eos": True,  # only stop_ids end a completion
                "logprobs": 0,  # of the chosen token
                "detokenize": False,
                "output_kind": RequestOutputKind.FINAL_ONLY,
            }
            if self.seeded:
                each = [SamplingParams(**shared, seed=_seed(key)) for key in prompt.keys]
            else:
                each = [SamplingParams(**shared, n=len(prompt.keys))] if prompt.keys else []
            exact_law = prompt.temperature == 1 and not filters
            requests += [_Request(list(prompt.token_ids), params, exact_law, place, i) for i, params in enumerate(each)]
        drawn = chain.from_iterable(self._run(requests, ended))
        return [list(islice(drawn, len(prompt.keys))) for prompt in prompts]

    def _run(self, requests: Sequence[_Request], ended: Ended | None) -> list[list[Completion]]:
        """The completions of every request; each is told of when it ends."""
        from vllm.inputs.engine import tokens_input

        engine = self._llm.llm_engine
        found: dict[int, list[Completion]] = {}
        try:
            for place, request in enumerate(requests):
                engine.add_request(str(place), tokens_input(request.token_ids), request.params)
            while engine.has_unfinished_requests():
                for output in (output for output in engine.step() if output.finished):
                    request = requests[int(output.request_id)]
                    samples = [_completion(sample, exact_law=request.exact_law) for sample in output.outputs]
                    found[int(output.request_id)] = samples
                    if ended is not None:
                        for place, sample in enumerate(samples, request.sample):
                            ended(request.prompt, place, sample.token_ids, sample.finish_reason)
        except BaseException:
            engine.abort_request([str(place) for place in range(len(requests))])
            raise
        return [found[place] for place in range(len(requests))]

    def update_weights(self, weights: Mapping[str, torch.Tensor], *, version: int) -> None:
        """See `RolloutEngine.update_weights`; cached prefixes of the old weights are dropped.

        To processes of its own vLLM is shown a bucket at a time.

        Raises:
            ValueError: weights are missing or unknown; the old ones stay.
            RuntimeError: vLLM would not drop its cache.
            Exception: weights that did not come; those that did are in place, and all have to be sent again.
        """
        self._check_awake()
        check_names(weights, self._shape)
        named = with_second_names(weights, self._shape)
        self._llm.start_weight_update()
        try:
            for portion in [named] if self._in_process else share(named):
                self._llm.update_weights({"update_info": {"weights": portion}})
        except BaseException:
            with contextlib.suppress(RuntimeError):  # a worker that failed has ended it
                self._llm.finish_weight_update()
            raise
        self._llm.finish_weight_update()
        if not self._llm.reset_prefix_cache():
            raise RuntimeError("vLLM did not drop the cached prefixes of the old weights")
        self.weights_version = version

    def log_probs(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[np.ndarray]:
        """See `RolloutEngine.log_probs`. vLLM draws one token more, so a sequence must leave room for it."""
        self._check_awake()
        from vllm import SamplingParams

        params = SamplingParams(max_tokens=1, temperature=1.0, prompt_logprobs=0, detokenize=False)
        inputs = [{"prompt_token_ids": [*prompt, *completion]} for prompt, completion in sequences]
        outputs = self._llm.generate(inputs, params, use_tqdm=False) if inputs else []
        return [
            np.array(
                [
                    entry[token].logprob
                    for entry, token in zip(output.prompt_logprobs[len(prompt) :], completion, strict=True)
                ],
                dtype=np.float32,
            )
            for (prompt, completion), output in zip(sequences, outputs, strict=True)
        ]

    def _sleep(self) -> None:
        """The weights go to the host, the cache is dropped. On the CPU vLLM keeps its memory."""
        if self._can_sleep:
            self._llm.sleep(level=1)

    def _wake(self) -> None:
        if self._can_sleep:
            self._llm.wake_up()

    def close(self) -> None:
        """Release everything."""
        if hasattr(self, "_llm"):
            from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

            self._llm.llm_engine.engine_core.shutdown()
            del self._llm
            VLLMEngine._open.discard(self)
            cleanup_dist_env_and_memory()


def _seed(key: tuple[int, ...]) -> int:
    """A request's seed: 63 bits of a digest of the key."""
    digest = hashlib.sha256(repr(tuple(map(int, key))).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _completion(sample: Any, *, exact_law: bool) -> Completion:
    """vLLM's output as ours. At T = 1 without filters the law of the draw is the policy."""
    logp = np.array(
        [entry[token].logprob for entry, token in zip(sample.logprobs, sample.token_ids, strict=True)],
        dtype=np.float32,
    )
    return Completion(
        token_ids=np.array(sample.token_ids, dtype=np.int64),
        policy_logp=np.minimum(logp, 0.0),
        finish_reason=FinishReason.EOS if sample.finish_reason == "stop" else FinishReason.LENGTH,
        behavior_logp=np.minimum(logp, 0.0) if exact_law else None,
    )
