"""Inputs of a policy in tests: end-effectors of the random latent space, and prediction from observation histories."""

from types import SimpleNamespace


def end_effector(name):
    """A stand-in for an embodiment whose actions are its joints."""
    joints = {"gripper": 1}.get(name, 3)
    return SimpleNamespace(name=name, joint_names=tuple(f"joint_{k}" for k in range(joints)), to_action=lambda q: q)


def predict(policy, histories):
    """One chunk for each history of observations."""
    return policy.predict([policy.prepare(history) for history in histories])
