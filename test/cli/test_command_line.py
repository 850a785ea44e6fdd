"""Command line: one-line errors on stderr, whole tables, version, Ctrl-C, and evaluation of an embodiment by any name."""

import io
import pickle
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from rich.console import Console
from rich.table import Table

from latent_policy_ros import __version__, nodes
from latent_policy_ros.cli import common, evaluate, retarget
from latent_policy_ros.common.errors import ConfigError
from latent_policy_ros.common.paths import config_dir
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.sim.evaluation import Rollout


def run(*arguments):
    command = [sys.executable, "-m", "latent_policy_ros.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_brackets_are_not_markup(capsys):
    common.print_line("write hand_frame: {origin: [x, y, z]}", "error:", "bold red")
    common.console.print("median time [s]")
    assert capsys.readouterr().out == "error: write hand_frame: {origin: [x, y, z]}\nmedian time [s]\n"


def test_tables_are_not_truncated():
    cells = [f"{'abcdefgh' * n}{n}" for n in range(1, 8)]
    for terminal in (True, False):
        table, file = Table(*cells), io.StringIO()
        table.add_row(*cells[::-1])
        common.print_table(table, Console(file=file, width=80, force_terminal=terminal))
        lines, letters = file.getvalue().splitlines(), sum(len(cell) for cell in 2 * cells)
        assert sum(c.isalnum() for c in re.sub(r"\x1b\[\d+m", "", file.getvalue())) == letters and "…" not in file.getvalue()
        assert (len(lines) == 5) != terminal


def test_retarget_table_fits_into_80_columns(tmp_path, monkeypatch):
    from latent_policy_ros.retargeting import generate_motion

    file, screen = tmp_path / "a_recording_of_a_person.npz", io.StringIO()
    np.savez(file, keypoints=generate_motion(3, 2.0).keypoints)
    monkeypatch.setattr(common, "console", Console(file=screen, width=80, force_terminal=True, markup=False))
    markdown = tmp_path / "table.md"
    with pytest.raises(typer.Exit):
        retarget.retarget_command([file], ["inspire_hand"], markdown=markdown)
    shown, row = screen.getvalue(), markdown.read_text().splitlines()[2].strip("| ").split(" | ")
    assert len(row) == 11 and "…" not in shown
    for figure in [*row[1:7], *row[7].replace(",", "").split(), *row[8].split(), *row[9:]]:
        assert figure in shown, f"{figure}:\n{shown}"


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "latent", "-o"),
        ("latent", "add", "leap_hand", "--to", "default", "-o"),
        ("latent", "refit", "leap_hand", "--in", "default", "-o"),
        ("latent", "report", "-o"),
    ],
)
def test_output_folder_that_is_a_file_is_refused(arguments, tmp_path):
    (tmp_path / "file").touch()
    ran = run(*arguments, tmp_path / "file")
    assert (ran.returncode, ran.stderr) == (2, f"error: {tmp_path / 'file'}: File exists\n")


def test_config_error_survives_pickling():
    error = pickle.loads(pickle.dumps(ConfigError("hand.yaml", "joints.thumb", "missing")))
    assert (error.file, error.path, error.message) == ("hand.yaml", "joints.thumb", "missing")
    assert str(error) == "hand.yaml: joints.thumb: missing"


@pytest.mark.parametrize("name", ["nosuch", "./nosuch.urdf", "nosuch.yaml"])
def test_unknown_embodiment_is_named(name):
    for command in (("embodiments", "show", name), ("eval", "--episodes", "1", "--embodiment", name)):
        ran = run(*command)
        assert ran.returncode == 2 and "Traceback" not in ran.stderr
        assert ran.stderr.startswith("error: ") and name in ran.stderr and "available: ability_hand" in ran.stderr


def test_embodiment_given_by_several_names_is_evaluated_once(monkeypatch, capsys):
    def evaluated(policy, latent, names, seeds, **options):
        return [Rollout(load_embodiment(name).name, seed, seed > 5, 1.0) for name in names for seed in seeds]

    monkeypatch.setattr("latent_policy_ros.sim.evaluation.evaluate", evaluated)
    file = config_dir() / "embodiments" / "faive_hand.yaml"
    evaluate.evaluate_command("default", "default", ["mimic_hand_right", str(file), "faive_hand"], 2, 5, 0.08, 1, None)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[1::2][:2] for row in rows if "1/2" in row] == [["mimic_hand", "1/2"], ["faive_hand", "1/2"]]


def test_version_option():
    ran = run("--version")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"{__version__}\n", "")


def test_ctrl_c_during_import_prints_no_traceback(tmp_path):
    (tmp_path / "slow.py").write_text("import time; print('importing', flush=True); time.sleep(60)")
    template = (Path(nodes.__file__).parent / "executable.in").read_text()
    program = template.replace("@module@", "slow").replace("@Python3_EXECUTABLE@", sys.executable)
    (tmp_path / "program").write_text(program)
    with subprocess.Popen([sys.executable, "program"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout.readline() == b"importing\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == b"" and process.wait(10) == -signal.SIGINT


FLEET_OF_HARDWARE = """
policy: default
latent: default
robots:
  left: {{embodiment: leap_hand, cameras: [], driver: "dynamixel@leap_hand?port={port}", arm_driver: mock}}
"""


def test_drivers_of_a_fleet_are_checked_and_moved(tmp_path, capsys, monkeypatch):
    from motor_emulator import DynamixelLine, dynamixel_motors

    from latent_policy_ros.cli import drivers
    from latent_policy_ros.drivers import check

    for name, value in (("RAMP_TIME", 0.02), ("SETTLE_TIME", 0.03), ("RATE_TIME", 0.1), ("MIN_RATE", 10.0)):
        monkeypatch.setattr(check, name, value)
    asked = []
    monkeypatch.setattr(typer, "confirm", lambda question: asked.append(question) or "ring" not in question)
    line = DynamixelLine(tmp_path / "port", dynamixel_motors(range(16)))
    file = tmp_path / "fleet.yaml"
    file.write_text(FLEET_OF_HARDWARE.format(port=line.path))
    with pytest.raises(typer.Exit) as passed:
        drivers.check_command(str(file), move=False, robot="")
    assert passed.value.exit_code == 0 and not asked
    assert "ok   left hand: connected; joints: 0, 1, 2" in capsys.readouterr().out
    with pytest.raises(typer.Exit) as failed:
        drivers.check_command(str(file), move=True, robot="left")
    output = capsys.readouterr().out
    line.close()
    assert failed.value.exit_code == 1
    assert asked[0] == "left arm: move each of 7 joints a little? Is the robot free to move?"
    assert "left hand: move each of 16 joints a little? Is the robot free to move?" in asked
    assert any(re.fullmatch(r"1: did the index tip move \d+ mm, mainly .*\?", question) for question in asked)
    assert any(re.fullmatch(r"panda_joint4: did the flange move \d+ mm, mainly (up|along .x)\?", question) for question in asked)
    assert "moving 9 by +0.1" in output and "FAIL left hand: 9: direction reversed" in output
    assert "ok   left hand: 1: moved +0.0" in output or "ok   left hand: 1: moved +0.1" in output


def test_drivers_are_listed_with_their_libraries(capsys, monkeypatch):
    import importlib.util

    from latent_policy_ros.cli import drivers

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "scservo_sdk" else found(name, *rest))
    drivers.list_command()
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "dynamixel_sdk: installed" in lines["dynamixel"] and "LEAP hand" in lines["dynamixel"]
    assert "missing; type: pip install 'latent_policy_ros[feetech]'" in lines["feetech"]
