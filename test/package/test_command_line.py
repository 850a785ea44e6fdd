"""The command line says what was wrong in one line on standard error, brackets and all, before any long work."""

import pickle
import subprocess
import sys

import pytest

from latent_policy_ros.cli import common
from latent_policy_ros.errors import ConfigError


def run(*arguments):
    command = [sys.executable, "-m", "latent_policy_ros.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_brackets_are_printed_as_they_are(capsys):
    common.tell("write hand_frame: {origin: [x, y, z]}", "error:", "bold red")
    common.console.print("median time [s]")
    assert capsys.readouterr().out == "error: write hand_frame: {origin: [x, y, z]}\nmedian time [s]\n"


@pytest.mark.parametrize(
    "arguments", [("train", "latent", "-o"), ("latent", "add", "leap_hand", "--to", "default", "-o"), ("latent", "report", "-o")]
)
def test_an_output_folder_that_is_a_file_is_said_at_once(arguments, tmp_path):
    (tmp_path / "file").touch()
    ran = run(*arguments, tmp_path / "file")
    assert (ran.returncode, ran.stderr) == (2, f"error: {tmp_path / 'file'}: File exists\n")


def test_a_wrong_file_is_told_whole_by_worker_processes():
    error = pickle.loads(pickle.dumps(ConfigError("hand.yaml", "joints.thumb", "missing")))
    assert (error.file, error.path, error.message) == ("hand.yaml", "joints.thumb", "missing")
    assert str(error) == "hand.yaml: joints.thumb: missing"


@pytest.mark.parametrize("name", ["nosuch", "./nosuch.urdf", "nosuch.yaml"])
def test_an_embodiment_that_is_not_there_is_named(name):
    for command in (("embodiments", "show", name), ("eval", "--episodes", "1", "--embodiment", name)):
        ran = run(*command)
        assert ran.returncode == 2 and "Traceback" not in ran.stderr
        assert ran.stderr.startswith("error: ") and name in ran.stderr and "available: ability_hand" in ran.stderr
