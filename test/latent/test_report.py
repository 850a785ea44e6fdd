"""HTML report: one self-contained page; plots."""

import base64
import io
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from rich.console import Console

from latent_policy_ros.embodiments import HandKinematics, load_embodiment
from latent_policy_ros.latent import plots, report
from latent_policy_ros.latent.plots import finger_lines
from latent_policy_ros.retargeting import generate_motion


def test_report_is_one_page_with_embedded_images(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "FRAMES", 600)
    file = report.write_report(trained, tmp_path, {"a_person": generate_motion(5, 20.0).keypoints})
    page = file.read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    images = [base64.b64decode(data) for data in re.findall(r'src="data:image/png;base64,([^"]+)"', page)]
    assert len(images) == 2 * len(report.MATRICES) + 4 and 'src="http' not in page
    for png in images:
        image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert image.std() > 5
    for text in (trained.latent_id[:12], "a_person (600 frames)", "One latent, every hand", *trained.embodiments):
        assert text in page


@pytest.mark.parametrize("name", ["faive_hand", "mimic_hand_left", "panda_gripper"])
def test_finger_lines_end_at_the_fingertips(name):
    embodiment = load_embodiment(name)
    x = np.random.default_rng(0).uniform(embodiment.action_lower, embodiment.action_upper, (5, embodiment.action_dim))
    lines = finger_lines(embodiment, x)
    tips = HandKinematics(embodiment).fingertips(embodiment.to_joints(x))
    assert np.allclose(np.stack([line[:, -1] for line in lines.values()], axis=1), tips, atol=1e-9)
    for finger, line in lines.items():  # bone lengths are constant, except for sliding jaws
        bones = np.linalg.norm(np.diff(line, axis=1), axis=-1)[:, 1:]
        assert embodiment.kind == "gripper" or np.allclose(bones, bones[:1], atol=1e-9), finger


def test_missing_added_embodiment_is_left_out_with_a_message(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "FRAMES", 600)
    stranger = replace(trained.codec("faive_hand"), name="my_hand")
    console = Console(file=io.StringIO(), width=400)
    page = report.write_report(replace(trained, added={"my_hand": stranger}), tmp_path, console=console).read_text()
    assert "left out: " in console.file.getvalue() and "no embodiment 'my_hand'" in console.file.getvalue()
    assert "faive_hand" in page and "my_hand" not in page


def test_embodiment_has_one_colour_in_all_plots(monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "_png", drawn.append)
    rng, names = np.random.default_rng(0), [f"hand_{i}" for i in range(12)]
    plots.space_map({name: rng.normal(size=(5, 4)) for name in names}, np.zeros(5))
    spread = {name: rng.uniform(0.1, 1, 9) for name in names[::-1]}
    plots.distances(spread, {names[3]: np.ones(9)}, {"random direction": np.full(9, 3.0)})
    scattered = {dots.get_label(): tuple(dots.get_facecolor()[0][:3]) for dots in drawn[0].axes[0].collections}
    handles, labels = drawn[1].axes[0].get_legend_handles_labels()
    filled = {label: bar.get_facecolor()[:3] for bar, label in zip(handles, labels)}
    assert len(set(scattered.values())) == len(names) and {name: filled[name] for name in names} == scattered
    edge = {label: bar.get_edgecolor()[:3] for bar, label in zip(handles, labels)}
    assert edge["hand_3, random joints"] == scattered["hand_3"] and edge["random direction"] not in scattered.values()
