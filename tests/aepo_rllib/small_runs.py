"""Small runs that several test files take."""

from aepo_rllib import AEPOConfig


def small(config, **settings):
    return (
        config.debugging(seed=3)
        .training(batch_size=6, group_size=4)
        .evaluation(evaluation_interval=10, evaluation_duration=24)
        .update_from_dict({"tempered_share": 1.0, **settings} if isinstance(config, AEPOConfig) else settings)
    )


def weights(algo):
    state = algo.learner_group.get_state(components="learner/rl_module")
    return state["learner"]["rl_module"]["default_policy"]
