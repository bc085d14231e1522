"""Ray is asked for what a layout needs, and a layout that cannot start is refused with what is missing."""

import pytest

from aepo_rllib import AEPOConfig
from aepo_rllib.training.resources import check_resources

LAYOUT = {"num_env_runners": 0, "evaluation_num_env_runners": 0, "num_learners": 0}
ONE_GPU = {"num_gpus_per_env_runner": 1, "num_gpus_per_learner": 1}


@pytest.mark.parametrize(
    ("layout", "cpus", "gpus"),
    [
        ({"num_env_runners": 2}, 2, 0),
        ({"evaluation_num_env_runners": 2}, 2, 0),
        ({"num_env_runners": 1, "num_learners": 2}, 3, 0),
        ({"num_env_runners": 1, "num_learners": 2, "num_gpus_per_learner": 1}, 1, 2),  # such learners take no CPU
        (ONE_GPU, 0, 1),  # all in the algorithm's process
        ({"num_env_runners": 1, **ONE_GPU}, 1, 1),  # the learner's GPU is the process's own, not Ray's to give
        ({"num_env_runners": 1, "num_learners": 1, **ONE_GPU}, 1, 2),
        ({"num_env_runners": 3, "num_gpus_per_env_runner": 0.6}, 3, 3),  # two of them do not fit one
        ({"num_env_runners": 10, "num_gpus_per_env_runner": 0.1}, 10, 1),
        (
            {
                "num_env_runners": 1,
                "num_gpus_per_env_runner": 1,
                "evaluation_num_env_runners": 2,
                "evaluation_config": {"num_gpus_per_env_runner": 0},
            },
            3,
            1,
        ),
        ({"num_env_runners": 1, "num_learners": 1, "num_gpus_per_env_runner": 0.5, "num_gpus_per_learner": 0.5}, 1, 1),
    ],
    ids=str,
)
def test_a_layout_needs_just_what_ray_will_be_asked_for(monkeypatch, layout, cpus, gpus):
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    cluster = {"CPU": cpus, "GPU": gpus}
    monkeypatch.setattr("ray.cluster_resources", lambda: cluster)
    config = AEPOConfig().update_from_dict(LAYOUT | layout)
    check_resources(config)
    check_resources(config.get_evaluation_config_object())  # which RLlib validates too
    for resource in [name for name, count in cluster.items() if count]:
        cluster[resource] -= 1
        with pytest.raises(ValueError, match=rf"need .* {resource}s, but there are"):
            check_resources(config)
        cluster[resource] += 1


def layout(learners, learner, runners=0, runner=0.0, evaluators=0):
    return AEPOConfig().update_from_dict(
        {
            "num_learners": learners,
            "num_gpus_per_learner": learner,
            "num_env_runners": runners,
            "num_gpus_per_env_runner": runner,
            "evaluation_num_env_runners": evaluators,
        }
    )


@pytest.mark.parametrize(
    "options",
    [
        (2, 0.5),
        (2, 0.3),
        (4, 0.25, 2, 1),
        (2, 0.5, 2, 0.5),  # as Ray places them, the two env runners take one GPU and the learners the other
        (3, 0.4, 1, 0.6),  # the third finds room beside the second
    ],
    ids=str,
)
def test_learners_that_would_meet_on_a_gpu_are_refused_whatever_the_cluster_has(monkeypatch, options):
    config = layout(*options)
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 99, "GPU": 99})
    cure = rf"num_env_runners={config.num_learners}, num_gpus_per_env_runner=0.6 and num_gpus_per_learner=0.4"
    with pytest.raises(ValueError, match=rf"^num_gpus_per_learner={config.num_gpus_per_learner} .* NCCL .* {cure}"):
        check_resources(config)


@pytest.mark.parametrize(
    ("options", "gpus"),
    [
        ((2, 0.4, 2, 0.6), 2),
        ((8, 0.4, 8, 0.6), 8),
        ((2, 0.6), 2),
        ((1, 0.5, 1, 0.5), 1),
        ((2, 0.4, 1, 0.6, 1), 2),
    ],
    ids=str,
)
def test_learners_that_ray_keeps_apart_are_not(monkeypatch, options, gpus):
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 99, "GPU": gpus})
    check_resources(layout(*options))
