"""`latent-policy dataset`: what was done is told, and the exit status says whether anything was."""

import pytest
from typer.testing import CliRunner

from latent_policy_ros.cli.dataset import app
from latent_policy_ros.sim import generate


def run(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200"})


def test_bags_that_are_left_out_are_listed_with_the_reason(tmp_path, recording):
    made = recording(seconds=1)
    made.drop("joint_states")
    made.write(tmp_path / "bags" / "bad")
    recording(seconds=1).write(tmp_path / "bags" / "good")
    done = run("from-bags", tmp_path / "bags", "-o", tmp_path / "out", "--latent", "none")
    assert done.exit_code == 0 and "missing topic" in done.output
    assert "1 episodes written (11 frames), 0 kept, 1 left out" in done.output


def test_a_look_at_what_is_no_bag_has_failed(tmp_path, recording):
    file = tmp_path / "notes.txt"
    file.write_text("no bag")
    done = run("view", file, "-o", tmp_path / "view")
    assert done.exit_code == 1 and "no bag" in done.output
    assert run("view", recording(seconds=1).write(tmp_path / "bag"), "-o", tmp_path / "view").exit_code == 0


@pytest.mark.parametrize(
    ("report", "status"), [(generate.Report(0, 0, (7,)), 1), (generate.Report(1, 0, (7,)), 0), (generate.Report(0, 1, ()), 0)]
)
def test_demonstrations_that_all_failed_are_a_failure(tmp_path, monkeypatch, report, status):
    monkeypatch.setattr(generate, "generate_episodes", lambda *_, **__: report)
    done = run("from-sim", "-o", tmp_path, "--latent", "none")
    assert done.exit_code == status and str(report) in done.output


def test_demonstrations_that_are_stopped_say_what_is_kept(tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(generate, "generate_episodes", stop)
    done = run("from-sim", "-o", tmp_path, "--latent", "none")
    assert done.exit_code == 130
    assert f"stopped; finished episodes are kept in {tmp_path}, and the same command goes on from there" in done.output
