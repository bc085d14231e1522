import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import logging
from collections.abc import Iterator

import pytest

from tests.support import kept

kept.watch_processes()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever asks for Ray is marked so, and vLLM, which starts processes, likewise; `make check` leaves them out.

    Files that take long come first, so that several test processes end together.
    """
    for item in items:
        if "ray_cluster" in getattr(item, "fixturenames", ()):
            item.add_marker("ray")
        if "vllm" in item.nodeid:
            item.add_marker("process")
    long = {item.path for item in items if {mark.name for mark in item.iter_markers()} & {"ray", "process"}}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A real Ray on localhost, with more logical CPUs than cores so that every layout fits.

    Nobody else starts or ends one, so that all tests have the same in whatever order they come.
    """
    import ray

    assert not ray.is_initialized(), "an earlier test started Ray by itself"
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    # Fewer completions for the base entropy of every small run: a second each, dozens of times.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aepo_rllib.training.algorithm.BASE_ENTROPY_COMPLETIONS", 128)
        yield
    ray.shutdown()


@pytest.fixture(autouse=True)
def _kept(request: pytest.FixtureRequest) -> Iterator[None]:
    """Ray's lifetime is the fixture's above. Starting a process takes a mark, or `make check` would be none."""
    marked = {mark.name for mark in request.node.iter_markers()}
    if "ray" in marked:
        assert kept.ray_runs(), "an earlier test ended Ray"
    before = kept.ray_runs()
    kept.started.clear()
    yield
    assert kept.ray_runs() == before, "this test started or ended Ray by itself; it has to ask for `ray_cluster`"
    assert marked & {"ray", "process"} or not kept.started, f"this test has to be marked `process`: {kept.started}"
