"""Registry of tasks."""

import pytest

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.sim.tasks.base import Task
from latent_policy_ros.sim.tasks.registry import DEFAULT_TASK, TASKS, load_task
from latent_policy_ros.sim.world import World


@pytest.mark.parametrize("name", TASKS.names())
def test_every_task_has_its_name_and_a_text(name):
    task = load_task(name)
    assert isinstance(task, Task) and task.name == name and task.text and load_task(name) is task


def test_default_task_is_registered():
    assert DEFAULT_TASK in TASKS.names()


def test_unknown_task_is_refused():
    with pytest.raises(LatentPolicyError, match="unknown task 'juggle'; available: cube_in_box, lift_cube"):
        World("panda_gripper", "juggle")


def test_registered_class_that_is_no_task_is_refused(monkeypatch):
    monkeypatch.setattr(TASKS, "load", lambda name: dict)
    with pytest.raises(LatentPolicyError, match="task 'other': expected a subclass of .*Task with name = 'other', got {}"):
        load_task("other")
