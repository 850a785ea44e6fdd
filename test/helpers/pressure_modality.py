"""A modality as another installed package registers it."""

from importlib.metadata import EntryPoint

import numpy as np

from latent_policy_ros.common import registry
from latent_policy_ros.observations import modalities
from latent_policy_ros.observations.modalities import Modality

MESSAGE_TYPE = "sensor_msgs/msg/FluidPressure"
PRESSURE = Modality("pressure", (MESSAGE_TYPE,), lambda message: np.array([message.fluid_pressure]), "(1,) float64 [Pa]")


def register(monkeypatch):
    """Make the entry point of the modality visible to the registry."""
    known = modalities.MODALITIES
    point = EntryPoint("pressure", f"{__name__}:PRESSURE", known.group)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == known.group else [])
    monkeypatch.setattr(modalities, "MODALITIES", registry.Registry(known.kind, known.group, known._builtin))
