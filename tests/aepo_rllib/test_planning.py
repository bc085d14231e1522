"""A run on a machine: bytes by closed forms, who is put on which GPU, and what is proposed where it does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aepo_rllib import AEPOConfig
from aepo_rllib.experience.passes import PassLimit, cut_rows
from aepo_rllib.experience.rows import Row
from aepo_rllib.models.hf import ModelError
from aepo_rllib.models.lora import Lora
from aepo_rllib.planning.fit import check_fits, longest_prompt, plan_of, resolve_checkpointing
from aepo_rllib.planning.learners import learning, states
from aepo_rllib.planning.machine import Machine, card_bytes, placed
from aepo_rllib.planning.plan import Plan, make_plan
from aepo_rllib.planning.proposals import propose, spread
from aepo_rllib.planning.settings import Settings
from aepo_rllib.planning.shape import ModelShape, read_shape
from tests.support.shapes import qwen

SMALL, LARGE = ModelShape(qwen("0.5b")), ModelShape(qwen("7b"))
P, P7 = SMALL.parameters, LARGE.parameters
RUN = Settings(dtype="bfloat16", max_new_tokens=1024, batch_size=64, group_size=8, updates_per_batch=4, engine="vllm")

HALF = {"gpu_memory_utilization": 0.5}
OWN_ENGINE = Path(__file__).parents[2] / "examples" / "own_engine.py"


def on(gpus: int, card: int, shape: ModelShape = SMALL, **changed: object) -> Plan:
    settings = replace(RUN, **{**spread(gpus), **changed})  # type: ignore[arg-type]
    return make_plan(shape, settings, Machine(gpus, card_bytes(card), nodes=-(-gpus // 8)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with nothing but its configuration."""
    path = tmp_path_factory.mktemp("model")
    config = qwen("7b")
    config.architectures = ["Qwen2ForCausalLM"]
    config.save_pretrained(path)
    return path


def test_a_learner_keeps_16_bytes_a_parameter_whatever_it_computes_in() -> None:
    for dtype in ("float32", "bfloat16"):
        assert sum(states(SMALL, replace(RUN, dtype=dtype)).values()) == 16 * P
    assert sum(states(SMALL, replace(RUN, dtype="float64")).values()) == 32 * P


def test_sharded_learners_keep_their_part() -> None:
    shared = replace(RUN, num_learners=8, learner_sharding="fsdp")
    assert sum(states(SMALL, shared).values()) == pytest.approx(2 * P, rel=1e-6)
    alone = replace(RUN, num_learners=1, learner_sharding="fsdp")
    assert sum(states(SMALL, alone).values()) == 16 * P


def test_adapters_keep_16_bytes_beside_2_of_what_is_frozen() -> None:
    lora = Lora(32, 64)
    kept = states(LARGE, replace(RUN, lora=lora))
    assert sum(kept.values()) == 2 * P7 + 16 * LARGE.adapters(lora)
    assert sum(kept.values()) < 17e9


@pytest.mark.parametrize(
    ("maps", "ends"),
    [
        ("all-linear", 4 * 3584 + 2 * (3584 + 512) + 3 * (3584 + 18944)),
        (["q_proj"], 2 * 3584),
        (["k_proj", "down_proj"], 3584 + 512 + 18944 + 3584),
    ],
)
def test_the_adapters_that_are_counted_are_those_of_the_named_maps(folder: Path, maps: Any, ends: int) -> None:
    """A rank times inputs and outputs of each map; without a rank there are none."""
    config = AEPOConfig().language_model(model_path=str(folder), lora_rank=16, lora_target_modules=maps)
    settings = Settings.of(config)
    assert settings.trained(LARGE) == 16 * 28 * ends
    assert states(LARGE, settings)["Adam moments"] == 2 * 4 * 16 * 28 * ends
    without = Settings.of(config.language_model(lora_rank=None))
    assert without.lora is None
    assert without.trained(LARGE) == P7


@pytest.mark.parametrize(
    ("changed", "checkpoint"),
    [
        ({}, False),
        ({}, True),
        ({"lora": Lora(32, 64)}, True),
        ({"num_learners": 8, "learner_sharding": "fsdp"}, False),
        ({"num_learners": 8, "learner_sharding": "fsdp"}, True),
    ],
)
def test_no_kind_is_negative_and_copies_are_those_of_autocast(changed: dict[str, object], checkpoint: bool) -> None:
    settings = replace(RUN, tokens_per_backward=40960, checkpoint_activations=checkpoint, **changed)  # type: ignore[arg-type]
    kinds = learning(LARGE, settings)
    assert min(kinds.values()) > 0
    assert ("16-bit copies of weights" in kinds) is not (checkpoint or bool(changed))


def test_gathered_weights_are_the_rest_and_two_layers_with_the_gradients_of_one() -> None:
    settings = replace(RUN, num_learners=8, learner_sharding="fsdp", tokens_per_backward=2048)
    layer = LARGE.layers[0]
    assert learning(LARGE, settings)["gathered weights"] == 2 * (LARGE.rest + 2 * layer) + (2 + 4) * layer


def test_where_passes_are_small_the_optimizer_step_is_the_worst() -> None:
    """As the benchmark's GPU showed: AdamW takes 4 bytes a parameter for a moment."""
    tiny = learning(LARGE, replace(RUN, max_new_tokens=2, prompt_tokens=2, rows_per_backward=1, share_prompts=False))
    assert sum(tiny.values()) == 20 * P7
    assert tiny["AdamW's step"] == 4 * P7


@pytest.mark.parametrize("share_prompts", [True, False])
@pytest.mark.parametrize(("rows", "tokens"), [(None, None), (5, None), (None, 3500), (3, 9000), (None, 10)])
def test_the_largest_pass_is_that_of_the_learner(rows: int | None, tokens: int | None, share_prompts: bool) -> None:
    settings = replace(RUN, rows_per_backward=rows, tokens_per_backward=tokens, share_prompts=share_prompts)
    assert settings.rows_of_step() == 128
    dealt = [
        Row([slot] * settings.prompt_tokens, [7] * settings.max_new_tokens, [0.0], 1.0)  # type: ignore[arg-type]
        for slot in range(16)
        for _ in range(8)
    ]
    longest = max(map(len, cut_rows(dealt, PassLimit(rows, tokens, share_prompts))))
    assert settings.rows_of_pass() == longest


def test_rows_of_a_step_are_those_of_all_streams_that_are_learned_from() -> None:
    config = AEPOConfig().training(batch_size=64, group_size=8, updates_per_batch=4, tempered_share=0.5)
    assert Settings.of(config).rows_of_step() == (64 + 32) // 4 * 8


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"num_gpus_per_learner": 1, "num_gpus_per_env_runner": 1}, ["engine learner"]),
        ({"num_env_runners": 2, "num_gpus_per_env_runner": 1}, ["engine", "engine"]),
        ({**spread(3)}, ["engine learner"] * 3),
        (
            {"num_env_runners": 2, "num_learners": 2, "num_gpus_per_env_runner": 0.5, "num_gpus_per_learner": 0.5},
            ["engine engine", "learner learner"],
        ),
        ({"num_env_runners": 1, "num_gpus_per_env_runner": 2, "num_gpus_per_learner": 1}, ["learner engine", "engine"]),
        ({"num_learners": 2}, []),
    ],
)
def test_actors_lie_where_ray_puts_them(options: dict[str, float], expected: list[str]) -> None:
    assert [" ".join(actor.kind for actor in gpu) for gpu in placed(Settings(**options))] == expected  # type: ignore[arg-type]


def test_two_learners_on_a_gpu_are_refused_with_the_shares_that_keep_them_apart() -> None:
    plan = on(2, 80, num_gpus_per_env_runner=0.5, num_gpus_per_learner=0.5)
    assert "num_gpus_per_env_runner=0.6 and num_gpus_per_learner=0.4" in plan.complaints[0]


@pytest.mark.parametrize(("name", "size"), [(80, 85.5e9), (24, 25.3e9), (141, 150.8e9), (31.5, 31.5 * 2**30)])
def test_cards_have_the_memory_of_their_name(name: float, size: float) -> None:
    assert card_bytes(name) == size


def test_an_engine_that_takes_a_share_gets_no_more_and_no_less() -> None:
    plan = on(1, 80, engine_options={"gpu_memory_utilization": 0.5})
    assert sum(plan.engine.awake.values()) == pytest.approx(0.5 * 85.5e9)
    a_token = 2 * 24 * 2 * 64 * 2  # keys and values of two heads of 64, in 16 bits
    assert plan.engine.cached_tokens == int(0.5 * 85.5e9 - 2 * P - 2e9) // a_token


@pytest.mark.parametrize("engine", ["transformers", "vllm", f"{OWN_ENGINE}:PlainEngine"])
def test_an_engine_on_the_host_caches_no_more_than_a_wave(engine: str) -> None:
    """Of its option, or of the default of the engine that has it: a batch of 512 would be twice as much."""
    host = replace(RUN, engine=engine, batch_size=512, engine_options={})
    wave = make_plan(SMALL, host, Machine(0, 0)).engine
    a_token = 2 * 24 * 2 * 64 * 2
    assert wave.cached_tokens == 2**18 < 512 * 8 * (1024 + 200) / 2
    assert wave.awake["cache"] == 2**18 * a_token * 25 // 24
    if engine == "transformers":
        few = make_plan(SMALL, replace(host, engine_options={"max_tokens_in_flight": 5000}), Machine(0, 0)).engine
        assert few.cached_tokens == 5000


def test_an_engine_whose_cache_is_too_small_for_its_context_is_refused() -> None:
    plan = on(1, 80, engine_options={"gpu_memory_utilization": 0.036})
    assert "engine_options.gpu_memory_utilization=0.036" in plan.complaints[0]
    assert on(1, 80, engine_options={"gpu_memory_utilization": 0.036, "max_model_len": 2048}).fits


def test_a_sleeping_engine_leaves_its_memory_to_the_learner() -> None:
    awake, asleep = (on(1, 80, rows_per_backward=1, sleep_while_learning=sleeps) for sleeps in (False, True))
    [gpu] = asleep.gpus
    assert gpu.learning["engine asleep"] == 10**9
    assert gpu.sampling["cache"] == awake.gpus[0].learning["cache"]
    assert "gradients" not in gpu.sampling
    assert asleep.peak < awake.peak
    assert asleep.host["engines asleep"] == 2 * P


def test_activations_are_recomputed_where_they_would_not_fit() -> None:
    half: dict[str, object] = {"engine_options": HALF}
    assert not on(1, 80, rows_per_backward=4, **half).settings.checkpoint_activations
    assert on(1, 80, rows_per_backward=64, **half).settings.checkpoint_activations
    assert not on(1, 80, rows_per_backward=64, checkpoint_activations=False, **half).settings.checkpoint_activations


@pytest.mark.parametrize(
    ("shape", "gpus", "card", "options", "proposal"),
    [
        (SMALL, 1, 80, {"rows_per_backward": 4, "engine_options": HALF}, ""),
        (SMALL, 1, 80, {"checkpoint_activations": False, "engine_options": HALF}, "checkpoint_activations=true"),
        (LARGE, 8, 80, {"tokens_per_backward": 8192, "sleep_while_learning": True}, "learner_sharding=fsdp"),
        (
            SMALL,
            1,
            80,
            {"rows_per_backward": 16, "engine_options": {"gpu_memory_utilization": 0.98}},
            "engine_options.gpu_memory_utilization=",
        ),
    ],
)
def test_the_smallest_change_is_proposed(
    shape: ModelShape, gpus: int, card: int, options: dict[str, object], proposal: str
) -> None:
    plan = on(gpus, card, shape, **options)
    found = propose(plan)
    assert found.words().startswith(proposal)
    assert len(found.changes) == bool(proposal)
    assert found.plan is not None
    assert found.plan.fits


def test_the_tokens_that_are_proposed_are_nearly_the_most_that_fit() -> None:
    plan = on(1, 80, engine_options={"gpu_memory_utilization": 0.6}, checkpoint_activations=True)
    [(name, tokens)] = propose(plan).changes.items()
    assert name == "tokens_per_backward"
    assert plan.changed(tokens_per_backward=tokens).fits
    assert not plan.changed(tokens_per_backward=int(tokens * 1.3)).fits


def test_where_nothing_helps_adapters_or_more_gpus_are_named() -> None:
    found = propose(on(1, 80, LARGE, engine_options={"max_model_len": 2048}))
    assert found.plan is None
    assert found.words() == "nothing here makes it fit; LoRA (rank 32) or 2 GPUs would"


def test_a_checkpoint_has_12_bytes_a_parameter_and_an_export() -> None:
    assert on(1, 80).disk == 3 * (12 + 2) * P
    assert on(1, 80, export_checkpoints=False, checkpoints=2).disk == 2 * 12 * P


def test_a_host_needs_room_for_an_update_and_for_checkpoints_on_their_way() -> None:
    host = on(8, 80, LARGE, learner_sharding="fsdp").host
    assert host["weights on their way"] == 2 * P7
    assert host["loading, checkpoints"] == 12 * P7
    assert on(16, 80, LARGE, learner_sharding="fsdp").host["loading, checkpoints"] == 6 * P7


def test_a_config_says_what_is_planned(folder: Path) -> None:
    config = AEPOConfig().language_model(model_path=str(folder), dtype="bfloat16", lora_rank=16)
    config.sampling(max_new_tokens=512, engine="vllm").env_runners(num_gpus_per_env_runner=1)
    config.learners(num_gpus_per_learner=1).training(tokens_per_backward=4096)
    assert longest_prompt(config) == 200
    plan = plan_of(config, Machine(1, card_bytes(80)))
    assert plan.settings.lora == Lora(16, 32)
    assert (plan.settings.max_new_tokens, plan.settings.tokens_per_backward) == (512, 4096)
    assert plan.shape.parameters == P7


def test_a_run_that_cannot_fit_is_refused_with_the_option_that_makes_it_fit(folder: Path) -> None:
    config = AEPOConfig().language_model(model_path=str(folder), dtype="bfloat16")
    config.sampling(engine="vllm", max_new_tokens=512).learners(num_learners=8, num_gpus_per_learner=1)
    config.training(tokens_per_backward=4096)
    with pytest.raises(ValueError, match=r"a GPU would hold 1\d\d of 85.5 GB; set learner_sharding=fsdp"):
        check_fits(config, Machine(8, card_bytes(80)))
    assert check_fits(config.learners(learner_sharding="fsdp"), Machine(8, card_bytes(80))).fits


def test_recomputing_is_decided_by_the_device_and_never_on_the_cpu(folder: Path) -> None:
    config = AEPOConfig().language_model(model_path=str(folder), dtype="bfloat16").training(tokens_per_backward=16384)
    config.sampling(max_new_tokens=2048)
    assert not resolve_checkpointing(config, 0)
    config.learners(num_learners=8, num_gpus_per_learner=1, learner_sharding="fsdp")
    assert resolve_checkpointing(config, card_bytes(80))
    assert not resolve_checkpointing(config, card_bytes(141))
    assert not resolve_checkpointing(config.training(checkpoint_activations=False), card_bytes(80))


def test_prompts_are_measured_where_tokenizer_and_problems_are_here() -> None:
    assert 5 < longest_prompt(AEPOConfig()) < 30
    assert longest_prompt(AEPOConfig().problems(template="qwen25-math-cot")) > 50


@pytest.mark.parametrize("text", ["{", '{"model_type": "unknown"}', '{"model_type": "t5"}', ""])
def test_what_is_no_configuration_of_a_causal_model_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelError, match="cannot plan for model"):
        read_shape(str(tmp_path))
