"""GraspSpace: one grasp has the same state and action for every end-effector."""

from dataclasses import replace

import numpy as np
import pytest

from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.embodiments.kinematics.grasp_frame import REFERENCE_WIDTH
from latent_policy_ros.policy.grasp_space import GraspSpace
from latent_policy_ros.policy.rotations import matrix_to_quaternion, matrix_to_rotation_6d
from latent_policy_ros.policy.scaling import APERTURE, POSITION, ROTATION
from latent_policy_ros.sim.start import grasp_frame

HANDS = ("mimic_hand", "faive_hand", "orca_hand", "leap_hand", "shadow_hand_left", "panda_gripper", "robotiq_2f85")
DOWN = np.array([[0, 1, 0], [1, 0, 0], [0, 0, -1.0]])  # pinch axis along y, approach axis down


@pytest.mark.parametrize("name", HANDS)
def test_pinch_at_a_point_has_the_same_state_for_every_end_effector(grasp_space, name):
    e, target = load_embodiment(name), np.array([0.5, 0.1, 0.03])
    frame = grasp_space.frame(e)
    grasp = e.to_joints(grasp_space.latent_space.decode(name, grasp_space._grasp).astype(float))
    points, apertures = frame.measure(grasp)
    at = int(np.abs(apertures - REFERENCE_WIDTH).argmin())
    position, rotation = frame.to_wrist(target, DOWN, points[at])
    wrist_pose = np.concatenate([position, matrix_to_quaternion(rotation)])[None]
    state = grasp_space.states(e, wrist_pose, e.to_action(grasp[at : at + 1]))[0]
    assert np.allclose(state[POSITION], target, atol=1e-6)
    assert np.allclose(state[ROTATION], matrix_to_rotation_6d(DOWN), atol=1e-6)
    assert state[APERTURE] == pytest.approx(REFERENCE_WIDTH, abs=0.004)


@pytest.mark.parametrize("name", HANDS)
def test_commands_invert_actions(grasp_space, name):
    e = load_embodiment(name)
    x = grasp_space.latent_space.decode(name, grasp_space._grasp)[::10]
    pose = np.tile([0.4, -0.1, 0.3, 0.0, 0.0, 0.0, 1.0], (len(x), 1))
    wrist, latents = (found[0] for found in grasp_space.commands([e], grasp_space.actions(e, pose, x).astype(float)[None]))
    assert np.abs(wrist[:, :3] - pose[:, :3]).max() < 0.006  # the codec does not return exactly the same joints
    assert np.abs(wrist[:, 3:] @ pose[0, 3:]).min() > 0.99999
    assert latents.shape == (len(x), grasp_space.latent_space.dim)


@pytest.mark.parametrize("name", HANDS)
def test_decoded_grasp_frame_agrees_with_the_retargeted_one(grasp_space, name):
    e = load_embodiment(name)
    decoded, retargeted = grasp_space.frame(e), grasp_frame(e)
    assert np.linalg.norm(decoded.origin - retargeted.origin) < 0.01
    assert np.trace(decoded.rotation.T @ retargeted.rotation) > 1 + 2 * np.cos(np.radians(6))


def test_left_hand_mirrors_its_right_hand(grasp_space):
    right, left = (grasp_space.frame(load_embodiment(f"mimic_hand{side}")) for side in ("", "_left"))
    assert np.allclose(left.origin, right.origin * [1, -1, 1], atol=1e-9)


def test_unknown_embodiment_is_refused(space, grasp_space):
    with pytest.raises(ArtifactError, match="no embodiment 'foot'"):
        GraspSpace(space, grasp_space._grasp).frame(replace(load_embodiment("faive_hand"), name="foot"))
