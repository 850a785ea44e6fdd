"""docs/EXTENDING.md: the package on that page installs, and each of its extensions works."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(?:toml|python|yaml)\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """Folder of the package's files, with the installed package in ``site``."""
    folder = tmp_path_factory.mktemp("extension")
    blocks = BLOCK.findall((ROOT / "docs" / "EXTENDING.md").read_text(encoding="utf-8"))
    assert {"pyproject.toml", "my_robots/lift_can.py", "my_robots/gru.py", "my_robots/echo.py"} <= {name for name, _ in blocks}
    for name, text in blocks:
        assert text.count("\n") < 80, f"{name} is longer than an extension should need to be"
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "my_robots" / "__init__.py").touch()
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", folder / "site", folder], check=True, capture_output=True, timeout=120)
    return folder


@pytest.fixture
def run(package):
    """Runs code in a process that sees the installed package, and returns what it prints."""

    def run(code):
        start = f"import sys; sys.path.insert(0, {str(package / 'site')!r})\n"
        done = subprocess.run([sys.executable, "-c", start + code], cwd=package, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout.split()

    return run


def test_every_registry_finds_the_entry_of_another_package(run):
    code = """
from latent_policy_ros.data.conversion.command_types import COMMAND_TYPES
from latent_policy_ros.drivers.registry import DRIVERS
from latent_policy_ros.observations.modalities import MODALITIES
from latent_policy_ros.policy.network.denoisers import DENOISERS
from latent_policy_ros.policy.network.encoders import IMAGE_ENCODERS, TEXT_ENCODERS
from latent_policy_ros.sim.tasks.registry import TASKS
networks = {"gru": DENOISERS, "small_cnn": IMAGE_ENCODERS, "letters": TEXT_ENCODERS}
entries = {"lift_can": TASKS, **networks, "echo": DRIVERS, "range": MODALITIES, "channel": COMMAND_TYPES}
for name, registry in entries.items():
    registry.load(name)
    print(name, name in registry.names())
"""
    assert run(code)[::2] == ["lift_can", "gru", "small_cnn", "letters", "echo", "range", "channel"]


def test_the_expert_solves_the_task(run):
    code = """
from latent_policy_ros.sim.demonstrations.generation import run_episode
from latent_policy_ros.sim.world import World
print(run_episode(World("mimic_hand", task="lift_can"), seed=3).meta.success)
"""
    assert run(code) == ["True"]


def test_a_policy_trains_with_the_denoiser_and_the_image_encoder(run):
    code = """
from pathlib import Path
from latent_policy_ros.common.parallel import Workers
from latent_policy_ros.common.paths import artifact
from latent_policy_ros.latent import LatentSpace
from latent_policy_ros.policy import Policy
from latent_policy_ros.policy.training.train import train_policy_from_settings
from latent_policy_ros.sim.demonstrations.generation import generate_episodes
latent = artifact("latents", "default")
generate_episodes("panda_gripper", [3, 4], "data", task="lift_can", workers=Workers(1))
train_policy_from_settings("gru.yaml", [Path("data")], latent, Path("policy"))
policy = Policy.load("policy", LatentSpace.load(latent))
print(policy.settings.denoiser, policy.settings.image_encoder, policy.settings.text_encoder)
"""
    assert run(code)[-3:] == ["gru", "small_cnn", "letters"]


def test_the_driver_is_made_by_its_name(run):
    code = """
import numpy as np
from latent_policy_ros.drivers.base import DriverSetup
from latent_policy_ros.drivers.registry import make_driver
driver = make_driver("echo", DriverSetup(("a", "b"), np.zeros(2)))
driver.connect()
driver.write([0.1, 0.2])
print(*driver.read().position)
"""
    assert run(code) == ["0.1", "0.2"]


def test_messages_are_read(package, monkeypatch):
    monkeypatch.syspath_prepend(str(package / "site"))
    from my_robots.channel import CHANNEL
    from my_robots.range import RANGE

    assert RANGE.read(SimpleNamespace(range=0.25)).tolist() == [0.25]
    assert list(CHANNEL.read(SimpleNamespace(values=[1.0, 2.0]))[0].positions) == [1.0, 2.0]
