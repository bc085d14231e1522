"""Short trainings that a forecast is held against: GRPO alone, and with the tempered term always hot or always cold."""

from __future__ import annotations

import json
from pathlib import Path

from aepo_rllib import GRPOConfig, metrics
from aepo_rllib.algorithms.aepo_constant import AEPOConstantConfig
from aepo_rllib.training.config import TextRLConfig

STEPS = {"hot": 60, "grpo": 40, "cold": 20}
TEMPERATURES = {"hot": 1.2, "cold": 0.8}


def outcome(model: Path, name: str, way: str, root: Path) -> dict[str, list[float]]:
    """Entropy and reward of every step of a run, trained where it is not on disk yet."""
    file = root / f"{model.name}.{way}.json"
    if not file.is_file():
        root.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"base": name, **_trained(model, way)}) + "\n")
    return json.loads(file.read_text())


def _trained(model: Path, way: str) -> dict[str, list[float]]:
    algo = _config(way).language_model(model_path=str(model)).build_algo()
    entropies, rewards = [], []
    for _ in range(STEPS[way]):
        main = algo.train()[metrics.MAIN]
        entropies.append(float(main[metrics.EXACT_ENTROPY]))
        rewards.append(float(main[metrics.REWARD_MEAN]))
    algo.stop()
    return {"entropy": entropies, "reward": rewards}


def _config(way: str) -> TextRLConfig:
    config: TextRLConfig = GRPOConfig()
    if way in TEMPERATURES:
        config = AEPOConstantConfig().entropy_control(temperature=TEMPERATURES[way])
    return config.evaluation(evaluation_interval=None).debugging(seed=0, log_level="ERROR")
