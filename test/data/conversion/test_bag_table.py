"""Tables of bags: tasks, outcomes and robots."""

import pytest

from latent_policy_ros.common.errors import ConfigError
from latent_policy_ros.data.bags.message_types import message_types
from latent_policy_ros.data.conversion.bag_table import BagTable
from latent_policy_ros.data.conversion.mapping import TopicMapping
from latent_policy_ros.data.lerobot.reader import LeRobotReader

T0 = 1_700_000_000.0
TYPES = message_types().types


def test_a_table_of_bags_sets_tasks_outcomes_and_robots(tmp_path, recording, converted):
    bags = [recording(seconds=1).write(tmp_path / "bags" / name) for name in ("one", "two", "three")]
    table = tmp_path / "table.csv"
    table.write_text("path,task,outcome,robot\nbags/one,stack the cups,success,\nbags/two,,failure,left\n")
    found = BagTable.find([table, bags[2]])
    assert found.bags == bags
    report, out = converted(*found.bags, table=found)
    reader = LeRobotReader(out / "faive_hand")
    assert report.written == 2 and [issue.kind for issue in report.left_out[0][1]] == ["failed"]
    assert [row["tasks"] for row in reader.episodes] == [["stack the cups"], ["put the cube in the box"]]
    table.write_text("path,succes\nbags/one,yes\nbags/none,\n")
    with pytest.raises(ConfigError) as error:
        BagTable.find([table])
    assert "column succes: unknown" in str(error.value) and "line 3, path: no such bag: bags/none" in str(error.value)
    table.write_text("path,task,task\n\nbags/one,,stack, the cups\n")
    with pytest.raises(ConfigError, match=r"(?s)column task: more than once.*line 3: more values than columns: the cups; quote"):
        BagTable.find([table])
    table.write_text("path,task\nbags/one,stack\nbags/../bags/one,push\n")
    with pytest.raises(ConfigError, match=r"line 3: contradicts another line about .*bags/\.\./bags/one"):
        BagTable.find([table])
    table.write_text("path\n")
    with pytest.raises(ConfigError, match="rows: expected at least one, got none"):
        BagTable.find([table])
    table.write_text("path,task,robot\nbags/one,push,left\nbags/../bags/one,stack,\n")
    found = BagTable.find([table, bags[0]])
    report, out = converted(*found.bags, out=tmp_path / "tasks", table=found)
    assert [row["tasks"] for row in LeRobotReader(out / "faive_hand").episodes] == [["push"]]
    table.write_text("path,robot\nbags/one,right\n")
    report, _ = converted(*bags[:1], out=tmp_path / "o", table=BagTable.find([table]), mapping=TopicMapping((), fps=10))
    assert "no right of the table; available: left" in report.left_out[0][1][0].text
