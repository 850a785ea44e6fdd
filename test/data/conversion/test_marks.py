"""Marked episodes: begins, ends and tasks on topics of a bag."""

import numpy as np
import pytest

from latent_policy_ros.data.bags.message_types import message_types

T0 = 1_700_000_000.0
TYPES = message_types().types


def marked(made, *marks):
    """The recording with marks at times [s] since its begin: a text for the topic `mark`, or ("task", text)."""
    text = TYPES["std_msgs/msg/String"]
    for at, mark in marks:
        topic, word = mark if isinstance(mark, tuple) else ("mark", mark)
        made.add(topic, T0 + at, text(data=word))
    return {"episodes": {"marker": "/left/mark", "begin": "go", "end": "stop", "task": "/left/task"}}


def test_marked_episodes_with_tasks(recording, rig):
    made, text = recording(seconds=6), TYPES["std_msgs/msg/String"]
    for number, task in enumerate(("red", "blue", "red")):
        made.add("mark", T0 + 2 * number, text(data="go"))
        made.add("task", T0 + 2 * number + 0.01, text(data=task))
        made.add("mark", T0 + 2 * number + 1.25, text(data="stop"))  # between two frames
    marks = {"marker": "/left/mark", "begin": "go", "end": "stop", "task": "/left/task"}
    issues, reader = rig(made, more={"episodes": marks})
    assert list(issues) == [] and [row["length"] for row in reader.episodes] == [13, 13, 13]
    assert [row["tasks"] for row in reader.episodes] == [["red"], ["blue"], ["red"]]
    np.testing.assert_allclose(reader.columns(1)["observation.state"][0], made.state(T0 + 2), atol=1e-6)
    assert all(reader.columns(k)["next.success"][-1] for k in range(3))
    issues, _ = rig(made, more={"episodes": {**marks, "begin": "start"}})
    assert "no episode begins with 'start'; got go, stop" in issues["unusable"].text


def test_task_sent_before_the_end_is_that_of_the_next_episode(recording, rig):
    made = recording(seconds=6)
    more = marked(made, (0, ("task", "red")), (0.1, "go"), (1.8, ("task", "blue")), (2, "stop"), (3, "go"), (5, "stop"))
    issues, reader = rig(made, more=more)
    assert [row["tasks"] for row in reader.episodes] == [["red"], ["blue"]]
    assert set(issues) == {"second task"} and "'blue' in an episode that has 'red'" in issues["second task"].text


def test_marks_that_are_not_used_are_told(recording, rig):
    made = recording(seconds=6)
    more = marked(made, (0.1, "stop"), (0.45, "Go"), (2.05, " STOP"), (2.5, "pause"), (2.98, "go"), (3.02, "stop"),
                  (4.03, "go"), (4.07, "stop"))  # fmt: skip
    issues, reader = rig(made, more=more)
    assert [row["length"] for row in reader.episodes] == [16]
    assert set(issues) == {"missing topic", "end without begin", "unknown mark", "short episode", "empty episode"}
    assert "episodes.task: no such topic" in issues["missing topic"].text and "'pause'" in issues["unknown mark"].text


def test_flag_that_is_sent_all_the_time(recording, rig):
    made, flag = recording(seconds=4), TYPES["std_msgs/msg/Bool"]
    for k in range(200):
        made.add("recording", T0 + k / 50 + 0.01, flag(data=20 <= k < 80 or 120 <= k < 180))
    issues, reader = rig(made, more={"episodes": {"marker": "/left/recording", "begin": True, "end": False}})
    assert [row["length"] for row in reader.episodes] == [12, 12] and not issues


def test_hole_at_either_end_of_a_marked_episode_is_told(recording, rig):
    made = recording(seconds=8)
    made.drop("front/image_raw", keep=lambda event: not (2.0 < event.at < 4.0 or 5.0 < event.at < 6.5))
    more = marked(made, (0.5, ("task", "red")), (1, "go"), (3.5, "stop"), (5.05, "go"), (7.5, "stop"))
    issues, reader = rig(made, more=more)
    assert [row["length"] for row in reader.episodes] == pytest.approx([12, 10], abs=3)
    assert {"hole", "begins late"} <= set(issues) and issues["hole"].time == pytest.approx(2.3, abs=0.3)


def test_marks_without_a_mapping_are_reported(recording, rig):
    made, text = recording(seconds=2), TYPES["std_msgs/msg/String"]
    for k, word in enumerate(("start", "stop", "start", "stop")):
        made.add("marks", T0 + k / 2, text(data=word))
    issues, reader = rig(made)
    assert reader.frames == 21 and "seems to mark 2 episodes" in issues["several episodes"].text
    made.drop("marks")
    for k in range(6):
        made.add("episode_state", T0 + k / 3, TYPES["std_msgs/msg/Int32"](data=1 - k % 2))
    issues, reader = rig(made)
    assert "/left/episode_state" in str(issues["several episodes"]) and "seems to mark 3" in issues["several episodes"].text
