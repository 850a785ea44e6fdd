"""Forward kinematics against published values, the YAML tables and pinocchio; Jacobians against finite differences."""

import numpy as np
import pinocchio
import pytest
import yaml

from latent_policy_ros.embodiments import HandKinematics, load_embodiment
from latent_policy_ros.embodiments.kinematics.pinocchio_model import pinocchio_model

ROBOTS = ("faive_hand", "mimic_hand", "panda_gripper")
FINGERS = ("thumb", "index", "middle", "ring", "pinky")
# (q, fingertips [m] in the palm frame), computed by other code from the makers' tables.
REFERENCE = {
    "faive_hand": [
        (
            [0.568, -0.982, 0.24, 0.207, 0.24, 0.207, 0.24, 0.207, 0.24, 0.207, 0.24],
            [[-0.080952, 0.142367, 0.0081], [-0.032578, 0.195893, -0.032427], [-0.0055, 0.201502, -0.032811],
             [0.019052, 0.191519, -0.03384], [0.046877, 0.174936, -0.033116]],
        ),
        (
            [0.409, -0.27, 0.812, 0.232, 0.588, 0.037, 0.363, 0.59, 0.138, 0.396, 0.778],
            [[-0.054922, 0.108506, -0.019594], [-0.027999, 0.158408, -0.039367], [-0.0055, 0.204864, -0.01365],
             [0.01134, 0.149551, -0.069897], [0.033133, 0.114963, -0.031681]],
        ),
    ],
    "mimic_hand": [
        (
            [0.371, -0.916, 0.436, 0.524, 0.157, 0.454, 0.454, 0.157,
             0.454, 0.454, 0.157, 0.454, 0.454, 0.157, 0.454, 0.454],
            [[0.090937, -0.072494, 0.174053], [0.02035, 0.013559, 0.293548], [-0.01262, 0.015742, 0.301305],
             [-0.043042, 0.00936, 0.285961], [-0.069767, -0.00156, 0.261918]],
        ),
        (
            [0.267, -0.595, 1.477, 0.584, 0.385, 0.082, 0.686, 0.447,
             0.261, 0.866, 0.509, 0.441, 1.046, 0.006, 0.621, 1.225],
            [[0.062032, -0.045479, 0.214], [0.042696, 0.027536, 0.288029], [0.014201, 0.008092, 0.290975],
             [-0.010457, -0.012987, 0.264341], [-0.051754, -0.03156, 0.221926]],
        ),
    ],
}  # fmt: skip


def random_q(embodiment, count=40, seed=0):
    return np.random.default_rng(seed).uniform(embodiment.lower, embodiment.upper, (count, len(embodiment.lower)))


def to_palm(embodiment, points):
    T = embodiment.T_base_hand
    return points @ T[:3, :3].T + T[:3, 3]


def rotate(axis, angle, v):
    """Rodrigues' formula."""
    k = np.array(axis) / np.linalg.norm(axis)
    return v * np.cos(angle) + np.cross(k, v) * np.sin(angle) + k * (k @ v) * (1 - np.cos(angle))


@pytest.mark.parametrize("name", REFERENCE)
def test_fingertips_equal_reference_values(name):
    embodiment = load_embodiment(name)
    for q, tips in REFERENCE[name]:
        got = to_palm(embodiment, HandKinematics(embodiment).fingertips(np.array([q]))[0])
        assert np.abs(got - tips).max() < 1e-5


@pytest.mark.parametrize("name", ROBOTS)
def test_fingertips_equal_rodrigues_rotations_along_the_yaml_table(name):
    embodiment = load_embodiment(name)
    table = yaml.safe_load(embodiment.file.read_text())
    q = random_q(embodiment)
    got = to_palm(embodiment, HandKinematics(embodiment).fingertips(q))
    for b in range(len(q)):
        angles = dict(zip(table["actuated"], q[b], strict=True))
        for hinge, coupling in table["couplings"].items():
            angles[hinge] = coupling["ratio"] * angles[coupling["follows"]]
        for f, tip in enumerate(table["fingertips"].values()):
            p, at = np.array(tip["point"]), tip["hinge"]
            while at != "palm":
                hinge = table["hinges"][at]
                if hinge.get("kind") == "prismatic":
                    p = p + angles[at] * np.array(hinge["axis"])
                else:
                    p = np.array(hinge["point"]) + rotate(hinge["axis"], angles[at], p - hinge["point"])
                at = hinge["parent"]
            assert np.abs(got[b, f] - p).max() < 1e-9


@pytest.mark.parametrize("name", ROBOTS)
def test_kinematics_equal_pinocchio(name):
    embodiment = load_embodiment(name)
    kinematics, model = HandKinematics(embodiment), pinocchio_model(embodiment)
    data, q = model.createData(), random_q(embodiment, 20)
    tips, motions = kinematics.fingertips(q), kinematics.link_transforms(q)
    assert tuple(model.names)[1:] == embodiment.hinge_names
    hand = model.getFrameId("hand")
    for b in range(len(q)):
        pinocchio.framesForwardKinematics(model, data, embodiment.coupling @ q[b])
        for f, finger in enumerate(kinematics.fingers):
            tip = data.oMf[hand].actInv(data.oMf[model.getFrameId(f"{finger}_tip")].translation)
            assert np.abs(tip - tips[b, f]).max() < 1e-12
        for h, hinge in enumerate(embodiment.hinges):
            place = motions[b, h] @ np.r_[hinge.point, 1.0]
            assert np.abs(data.oMi[h + 1].translation - place[:3]).max() < 1e-12
            assert np.abs(data.oMi[h + 1].rotation - motions[b, h, :3, :3]).max() < 1e-12


@pytest.mark.parametrize("name", ROBOTS)
def test_jacobian_equals_finite_differences(name):
    embodiment = load_embodiment(name)
    kinematics, q, step = HandKinematics(embodiment), random_q(embodiment, 8), 1e-6
    jacobian = kinematics.jacobian(q)
    assert jacobian.shape == (8, len(embodiment.fingertips), 3, len(embodiment.joint_names))
    for j in range(q.shape[1]):
        d = step * np.eye(q.shape[1])[j]
        numeric = (kinematics.fingertips(q + d) - kinematics.fingertips(q - d)) / (2 * step)
        assert np.abs(numeric - jacobian[..., j]).max() < 1e-8


def test_batch_equals_single_poses():
    embodiment = load_embodiment("faive_hand")
    kinematics, q = HandKinematics(embodiment), random_q(load_embodiment("faive_hand"))
    single = np.concatenate([kinematics.fingertips(row[None]) for row in q])
    assert np.abs(single - kinematics.fingertips(q)).max() < 1e-15


@pytest.mark.parametrize("name", ("faive_hand", "mimic_hand"))
def test_hand_frame_of_a_right_hand(name):
    """Fingers along +z, the thumb on +y, flexed fingertips towards +x."""
    embodiment = load_embodiment(name)
    kinematics = HandKinematics(embodiment)
    chains = kinematics.fingers_at_zero()
    assert kinematics.fingers == FINGERS
    sides = [chains[finger][0][1] for finger in FINGERS[1:]]
    assert sides == sorted(sides, reverse=True) and chains["thumb"][-1][1] > sides[0]
    assert abs(chains["middle"][0][:2]).max() < 0.01 and chains["middle"][0][2] > 0.07
    flexed = kinematics.fingertips(embodiment.upper[None])[0] - kinematics.fingertips(embodiment.lower[None])[0]
    assert (flexed[1:, 0] > 0).all()


def test_wrong_shape_of_q_is_an_error():
    kinematics = HandKinematics(load_embodiment("mimic_hand"))
    with pytest.raises(ValueError, match=r"mimic_hand: q must have shape \(B, 16\), got \(16,\)"):
        kinematics.fingertips(np.zeros(16))
    with pytest.raises(ValueError, match="human_hand has no hinges"):
        HandKinematics(load_embodiment("human_hand"))
