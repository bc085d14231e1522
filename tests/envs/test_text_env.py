import pickle
import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import aepo_rllib.envs as envs
from aepo_rllib.envs import text_env
from aepo_rllib.envs.spaces import AnyText
from aepo_rllib.envs.text_env import PROBLEM_INDEX


@pytest.mark.parametrize("problems", ["arithmetic", "countdown4", "sum3"])
def test_environment_is_clean_under_gymnasiums_checker(problems):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(envs.ENV_ID, problems=problems, render_mode="ansi").unwrapped)


def test_gold_answer_earns_one_and_a_wrong_one_zero():
    env = gymnasium.make(envs.ENV_ID)
    _, info = env.reset(options={PROBLEM_INDEX: 5})
    text, reward, terminated, truncated, info = env.step(f"so \\boxed{{{info['gold']}}}")
    assert (text, reward, terminated, truncated, info["verdict"]) == ("", 1.0, True, False, "correct")
    env.reset(options={PROBLEM_INDEX: 5})
    _, reward, _, _, info = env.step("no idea")
    assert (reward, info["verdict"], info["answer"]) == (0.0, "no_answer", "")


def test_a_batch_is_graded_like_its_members():
    single = gymnasium.make(envs.ENV_ID, problems="countdown3")
    vector = gymnasium.make_vec(envs.ENV_ID, num_envs=4, problems="countdown3")
    indices = [3, 3, 8, 21]
    observations, infos = vector.reset(options={PROBLEM_INDEX: indices})
    golds = infos["gold"]
    actions = [f"\\boxed{{{golds[0]}}}", "\\boxed{1}", f"\\boxed{{{golds[0]}}}", "nothing"]
    _, rewards, terminated, truncated, infos = vector.step(actions)
    for place, (index, action) in enumerate(zip(indices, actions, strict=True)):
        observation, _ = single.reset(options={PROBLEM_INDEX: index})
        assert observation == observations[place]
        _, reward, *_, info = single.step(action)
        assert (reward, info["verdict"]) == (rewards[place], infos["verdict"][place])
    assert terminated.all()
    assert not truncated.any()
    assert rewards.tolist() == [1.0, 0.0, 0.0, 0.0]


def test_reset_is_seeded_and_bad_options_are_refused():
    env = gymnasium.make(envs.ENV_ID)
    assert env.reset(seed=4)[1]["problem_id"] == env.reset(seed=4)[1]["problem_id"]
    with pytest.raises(ValueError, match="outside the problem set"):
        env.reset(options={PROBLEM_INDEX: 10**6})
    vector = gymnasium.make_vec(envs.ENV_ID, num_envs=2)
    with pytest.raises(ValueError, match="3 problems for 2 environments"):
        vector.reset(options={PROBLEM_INDEX: [1, 2, 3]})


def test_text_space_takes_latex_and_unicode_and_pickles_small():
    space = AnyText()
    for text in ("", "$\\frac{1}{2}$\n", "解:∑ 😀", "\x00"):
        assert space.contains(text)
    assert not space.contains(3)
    assert not AnyText(max_length=2).contains("abc")
    assert len(pickle.dumps(space)) < 10_000
    assert pickle.loads(pickle.dumps(space)) == space


@pytest.mark.parametrize("name", list(envs.TEMPLATES))
def test_templates_show_the_problem_unchanged(name):
    problem = "Find {x}: $\\frac{1}{2}$ {problem} %s {0}"
    text = envs.get_template(name).render(problem)
    assert text.count(problem) == 1


def test_think_template_is_the_authors():
    text = envs.get_template("aepo-think").render("1+1?")
    assert text.startswith("1+1? You FIRST think about the reasoning process as an internal monologue and then")
    assert "answer.\n The reasoning process MUST BE enclosed" in text
    assert text.endswith("The final answer MUST BE put in \\boxed{}.")


def test_unknown_template_names_the_known_ones():
    with pytest.raises(ValueError, match="aepo-think"):
        envs.get_template("nope")


@pytest.mark.process
def test_importing_the_environment_loads_neither_torch_nor_ray():
    code = "import sys, aepo_rllib.envs; print([m for m in ('torch', 'ray') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_rewards_are_floats_and_verdicts_are_the_five():
    assert {verdict.value for verdict in envs.Verdict} == {
        "correct",
        "wrong",
        "no_answer",
        "timed_out",
        "grader_crashed",
    }
    vector = gymnasium.make_vec(envs.ENV_ID, num_envs=1)
    vector.reset()
    assert vector.step(["x"])[1].dtype == np.float64


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("grader_workers", value) for value in (0, -1, 1.0, float("inf"), "x", True, None, [1], 10**9)),
        *(("grader_deadline_s", value) for value in (0, -1, float("nan"), float("inf"), "3", True, None, 1e9)),
        *(("problem_seed", value) for value in (1.0, float("nan"), "x", True, None, [])),
        *(("split", value) for value in ("nope", "", 0, True, None, ["train"])),
        *(("template", value) for value in ("nope", "", 0, True, None, ["plain"])),
        *(("problems", value) for value in ("", 0, True, None, ["sum3"])),
        *(("fields", value) for value in ("abc", 1, True, ["a"], {"question": "q"}, {"id": 0})),
    ],
)
def test_arguments_that_cannot_be_used_are_named_before_a_process_starts(name, value, monkeypatch):
    monkeypatch.setattr(text_env, "shared_grader", lambda *args: pytest.fail("a grader was made"))
    with pytest.raises(ValueError, match=name):
        envs.MathTextEnv(**{"problems": "sum3", name: value})


def test_numbers_of_other_kinds_are_arguments_too():
    numbers = {"grader_workers": np.int64(1), "grader_deadline_s": np.float32(2), "problem_seed": np.int64(3)}
    env = envs.MathTextEnv("sum3", **numbers)
    assert env.problems == envs.MathTextEnv("sum3", problem_seed=3).problems
    assert (env.grader.pool.size, env.grader.pool.deadline_s) == (1, 2.0)
