"""Quaternions and Euler angles with tf_transformations itself and with its equals, against pinocchio."""

import importlib
import sys

import numpy as np
import pinocchio as pin
import pytest

NAME = "latent_policy_ros.common.transformations"
RANDOM = np.random.default_rng(0)
QUATERNIONS = RANDOM.normal(size=(20, 4))
QUATERNIONS /= np.linalg.norm(QUATERNIONS, axis=1, keepdims=True)
ANGLES = [*RANDOM.uniform(-3.0, 3.0, (10, 3)) * [1.0, 0.5, 1.0], [0.3, np.pi / 2, 0.0], [0.3, -np.pi / 2, 0.0], [0.0, 0.0, np.pi]]


@pytest.fixture(params=["tf_transformations", "equal"])
def module(request, monkeypatch):
    if request.param == "tf_transformations":
        pytest.importorskip("tf_transformations", reason="needs tf_transformations, which comes with a ROS 2 installation")
    else:
        monkeypatch.setitem(sys.modules, "tf_transformations", None)
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    module = importlib.import_module(NAME)
    assert module.quaternion_multiply.__module__ == (NAME if request.param == "equal" else "tf_transformations")
    return module


def rotation(quaternion):
    return pin.Quaternion(np.asarray(quaternion, float)).toRotationMatrix()


def test_product_and_conjugate(module):
    for a, b in zip(QUATERNIONS, QUATERNIONS[::-1]):
        np.testing.assert_allclose(rotation(module.quaternion_multiply(a, b)), rotation(a) @ rotation(b), atol=1e-12)
        np.testing.assert_allclose(module.quaternion_multiply(a, module.quaternion_conjugate(a)), [0, 0, 0, 1], atol=1e-12)


def test_matrices(module):
    for quaternion in QUATERNIONS:
        matrix = module.quaternion_matrix(quaternion)
        np.testing.assert_allclose(matrix[:3, :3], rotation(quaternion), atol=1e-12)
        np.testing.assert_array_equal(matrix[[0, 1, 2, 3, 3, 3, 3], [3, 3, 3, 0, 1, 2, 3]], [0, 0, 0, 0, 0, 0, 1])
        np.testing.assert_allclose(module.quaternion_matrix(3.0 * quaternion), matrix, atol=1e-12)
        back = np.array(module.quaternion_from_matrix(matrix))
        assert abs(back @ quaternion) == pytest.approx(1.0, abs=1e-12) and back[3] >= 0


@pytest.mark.parametrize("angles", ANGLES)
def test_euler_angles_are_those_of_a_urdf(module, angles):
    matrix = pin.rpy.rpyToMatrix(*angles)
    np.testing.assert_allclose(rotation(module.quaternion_from_euler(*angles)), matrix, atol=1e-12)
    np.testing.assert_allclose(pin.rpy.rpyToMatrix(*module.euler_from_matrix(matrix)), matrix, atol=1e-7)
