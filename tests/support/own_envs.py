"""Text environments as users write them, for the tests; each keeps to the contract or breaks it in one way."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector.utils import batch_space

from aepo_rllib.envs.spaces import AnyText


class Sums(gymnasium.Env):
    """One turn, problems by seed. Says nothing in its infos."""

    observation_space = action_space = AnyText()

    def __init__(self, largest: int = 9, reward: Any = None) -> None:
        self.largest, self.reward = largest, reward

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.numbers = self.np_random.integers(1, self.largest + 1, size=3).tolist()
        return f"Add {' '.join(map(str, self.numbers))}.", {}

    def step(self, action: str) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        assert isinstance(action, str)
        reward = float(f"{{{sum(self.numbers)}}}" in action) if self.reward is None else self.reward
        return "", reward, True, False, {}


class Listed(Sums):
    """One turn, problems by index."""

    problems = ("Add 2 3 4.", "Add 5 6 7.", "Add 1 1 1.")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        text = self.problems[options["problem_index"]]
        self.numbers = [int(word) for word in text.rstrip(".").split()[1:]]
        return text, {}


class Countdown(Sums):
    """1-3 turns, as its seed says; a step after the end is an error, as in any strict environment."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        text, _ = super().reset(seed=seed)
        self.left, self.said = 1 + seed % 3, []
        return text, {"turns_left": self.left, "mixed": None if self.left == 1 else "text", "deep": {"n": self.left}}

    def step(self, action: str) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        assert self.left > 0, "stepped after the end"
        self.left -= 1
        self.said.append(action)
        info = {"said": tuple(self.said), "mixed": self.left if self.left else "end"}
        return f"Add {self.left} 1 1.", 0.25, not self.left, False, info


class Endless(Sums):
    def step(self, action: str) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        return "Add 1 2.", 0.0, False, False, {}


class Forgetful(Sums):
    """Draws on, whatever the seed."""

    drawn = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        Forgetful.drawn += 1
        return f"Add {Forgetful.drawn} 1 1.", {}


class Numbers(Sums):
    """Its space says texts, and its observations are none."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.array(self.numbers), {}


class LateNumbers(Sums):
    def step(self, action: str) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        return 7, 0.0, False, False, {}


class OwnVerdict(Sums):
    def step(self, action: str) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        return "", 1.0, True, False, {"verdict": "splendid"}


class BadTurns(Sums):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        text, _ = super().reset(seed=seed)
        return text, {"turns": ["you are a calculator"]}


class Spaceless(Sums):
    observation_space = gymnasium.spaces.Box(0, 1, (2,))


class Lonely(Sums):
    def __init__(self) -> None:
        super().__init__()


class SumsVector(gymnasium.vector.VectorEnv):
    """The same as `Sums`, or as `Countdown`, for many at once; resets ended episodes by itself at the next step."""

    metadata = {"autoreset_mode": gymnasium.vector.AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(self, num_envs: int, single: type = Sums, **kwargs: Any) -> None:
        self.num_envs, self.envs = num_envs, [single(**kwargs) for _ in range(num_envs)]
        self.single_observation_space = self.single_action_space = AnyText()
        self.observation_space = self.action_space = batch_space(AnyText(), num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        assert isinstance(seed, list)
        self.ended = [False] * self.num_envs
        return tuple(env.reset(seed=one)[0] for env, one in zip(self.envs, seed, strict=True)), {}

    def step(self, actions: Any) -> tuple[Any, ...]:
        results = []
        for place, (env, action) in enumerate(zip(self.envs, actions, strict=True)):
            if self.ended[place]:
                results.append((env.reset(seed=1)[0], 0.0, False))
            else:
                text, reward, ended, *_ = env.step(action)
                results.append((text, reward, ended))
            self.ended[place] = results[-1][2]
        texts, rewards, ended = zip(*results, strict=True)
        return texts, np.array(rewards), np.array(ended), np.zeros(self.num_envs, dtype=bool), {}
