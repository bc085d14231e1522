"""The diversity of a training batch: of hand-written solutions, and of what the embedded model samples."""

import time
from itertools import combinations, groupby

import numpy as np
import pytest
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from aepo_rllib import GRPOConfig, metrics
from aepo_rllib.envs.content_path import content_path
from aepo_rllib.envs.grading.literals import spelling
from aepo_rllib.envs.text_env import MathTextEnv
from aepo_rllib.envs.verdict import Verdict
from aepo_rllib.experience.diversity import diversity_figures
from aepo_rllib.experience.groups import verdict_of
from tests.support.small_runs import small

K = metrics.DISTINCT_AMONG
ONE_BY_ONE = {metrics.DISTINCT_CORRECT_PATHS, metrics.PATH_DIVERSITY}
WAYS = [
    r"2+3 is 5 and 5+4 makes 9. \boxed{9}",
    r"3+4 = 7, then 2+7 = 9. \boxed{9}",
    r"4+2 gives 6, 6+3 gives 9: \boxed{09}",
    r"Well, 2+3 yields 5, now 5+4 is 9 fine $\boxed{9.}$",
]


@pytest.fixture(scope="module")
def episodes(tmp_path_factory):
    """What makes episodes of completions of one problem, whose answer is 9, judged by the environment."""
    file = tmp_path_factory.mktemp("problems") / "nine.jsonl"
    file.write_text('{"problem": "Add 2 3 4.", "answer": "9"}')
    env = MathTextEnv(problems=str(file))

    def judged(text):
        episode = SingleAgentEpisode()
        episode.add_env_reset(env.reset()[0], {})
        observation, reward, _, _, info = env.step(text)
        episode.add_env_step(observation, text, reward, info, terminated=True)
        return episode

    return lambda texts: [judged(text) for text in texts]


def figures(*groups):
    return diversity_figures(groups, [verdict_of(episode) for group in groups for episode in group])


def test_where_all_answers_are_one_the_ways_to_it_may_differ(episodes):
    found = figures(episodes(WAYS))
    assert found[metrics.ANSWER_ENTROPY] == found[metrics.PLUG_IN_ANSWER_ENTROPY] == 0
    assert found[metrics.DISTINCT_ANSWERS] == found[metrics.DISTINCT_CORRECT_ANSWERS] == 1
    assert found[metrics.DISTINCT_CORRECT_PATHS] == 3  # the first way and the last are one, in another style
    assert found[metrics.PATH_DIVERSITY] == pytest.approx(5 / 6)


def test_where_nothing_is_correct_there_are_answers_and_no_ways(episodes):
    found = figures(episodes([r"\boxed{1}", r"\boxed{2}", r"\boxed{3}", "none"]))
    assert found[metrics.PLUG_IN_ANSWER_ENTROPY] == pytest.approx(np.log(3))
    assert found[metrics.DISTINCT_ANSWERS] == 3
    assert found[metrics.DISTINCT_CORRECT_PATHS] == found[metrics.PATH_DIVERSITY] == 0


def test_every_problem_counts_the_same(episodes):
    alike, mixed = [WAYS[0]] * 4, WAYS
    both, *alone = (
        figures(*groups) for groups in ([episodes(alike), episodes(mixed)], [episodes(alike)], [episodes(mixed)])
    )
    assert both == pytest.approx({name: np.mean([each[name] for each in alone]) for name in both})


def test_groups_of_one_say_nothing_and_of_two_all_that_they_can(episodes):
    assert figures(episodes(WAYS[:1])) == {}
    assert figures() == {}
    assert figures(episodes(WAYS[:2]))[metrics.DISTINCT_CORRECT_PATHS] == 2


def test_an_environment_that_tells_no_answers_has_ways_alone(episodes):
    group = episodes(WAYS)
    for episode in group:
        del episode.get_infos(-1)["answer"]
    assert set(figures(group)) == ONE_BY_ONE


def test_a_batch_takes_less_than_two_milliseconds(episodes):
    """Some slack for busy machines: it is 0.7 ms for 128 completions of the embedded model."""
    groups = [episodes(WAYS * 4) for _ in range(8)]
    seconds = []
    for _ in range(5):
        started = time.thread_time()
        figures(*groups)
        seconds.append(time.thread_time() - started)
    assert min(seconds) < 0.004


def test_a_real_step_logs_what_all_subsets_of_its_groups_say(ray_cluster):
    """Groups of 5, of which 4 are drawn."""
    algo = small(GRPOConfig(), group_size=K + 1).build_algo()
    shown = []
    algo.on_episodes = lambda purpose, groups: shown.append((purpose.name, groups))
    try:
        logged = algo.train()[metrics.MAIN]
    finally:
        algo.stop()
    (groups,) = (groups for stream, groups in shown if stream == metrics.MAIN)
    solved = [
        [
            (spelling(episode.get_infos(-1)["answer"]), verdict_of(episode), content_path(episode.get_actions(-1)))
            for episode in group
        ]
        for group in groups.episodes_PG
    ]

    def over_subsets(kinds):
        return np.mean([np.mean([len(kinds(subset)) for subset in combinations(group, K)]) for group in solved])

    def right(subset):
        return [sample for sample in subset if sample[1] is Verdict.CORRECT]

    assert logged[metrics.DISTINCT_ANSWERS] == pytest.approx(over_subsets(lambda s: {x[:2] for x in s if x[0]}))
    assert logged[metrics.DISTINCT_CORRECT_ANSWERS] == pytest.approx(over_subsets(lambda s: {x[0] for x in right(s)}))
    assert logged[metrics.DISTINCT_CORRECT_PATHS] == pytest.approx(over_subsets(lambda s: {x[2] for x in right(s)}))
    entropies = []
    for group in solved:
        answers = sorted(answer for answer, *_ in group if answer)
        shares = np.array([len(list(alike)) for _, alike in groupby(answers)]) / max(len(answers), 1)
        entropies.append(-(shares * np.log(shares)).sum())
    assert logged[metrics.PLUG_IN_ANSWER_ENTROPY] == pytest.approx(np.mean(entropies))
    assert logged[metrics.ANSWER_ENTROPY] >= logged[metrics.PLUG_IN_ANSWER_ENTROPY] > 0
