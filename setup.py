"""pip's view of the package: Python modules, configuration and console scripts, no messages (see CMakeLists.txt)."""

import os
import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
NAME = "latent_policy_ros"


def shared_files():
    """The files under config/ and launch/, as CMake installs them."""
    folders = [folder for top in ("config", "launch") for folder, _, _ in os.walk(HERE / top) if "__pycache__" not in folder]
    for folder in map(Path, folders):
        files = [str(path.relative_to(HERE)) for path in sorted(folder.iterdir()) if path.is_file()]
        yield f"share/{NAME}/{folder.relative_to(HERE)}", files


def requirements():
    """The libraries of requirements/core.txt, in any version that is not excluded there."""
    lines = [line.partition("#")[0].strip() for line in (HERE / "requirements" / "core.txt").read_text().splitlines()]
    return sorted(set(filter(None, lines)))


#: Libraries of image encoders and logs of training.
POLICY_EXTRAS = {"dinov2": ["transformers"], "tensorboard": ["tensorboard"]}
#: Clusters.
CLUSTER_EXTRAS = {"dask": ["distributed"], "ray": ["ray"]}
DATA_EXTRAS = {"zarr": ["zarr"]}  # hand recordings in zarr files
WEBCAM_EXTRAS = {"webcam": ["mediapipe>=1.2"]}  # hands in the images of a webcam
#: Libraries of the drivers, by the name of the driver.
DRIVER_EXTRAS = {
    "dynamixel": ["dynamixel-sdk>=3.7.31"],
    "feetech": ["feetech-servo-sdk>=1.0,<2"],
    "franka": ["franky-control>=2.0"],
    "inspire": ["pymodbus>=3.10", "pyserial"],
    "orca": ["orca-core>=0.12"],
    "robotiq": ["pymodbus>=3.10", "pyserial"],
}

setup(
    name=NAME,
    version=re.search(r"<version>(.*?)</version>", (HERE / "package.xml").read_text()).group(1),
    description="One learned policy on many different robot hands: latent action diffusion on ROS 2.",
    license="Apache-2.0",
    packages=find_packages(include=[NAME, NAME + ".*"]),
    package_data={NAME: ["nodes/executable.in"]},
    data_files=[*shared_files(), (f"share/{NAME}", ["package.xml"])],
    python_requires=">=3.10,<3.14",
    install_requires=requirements(),
    extras_require={
        **POLICY_EXTRAS,
        **CLUSTER_EXTRAS,
        **DATA_EXTRAS,
        **WEBCAM_EXTRAS,
        **DRIVER_EXTRAS,
        "hardware": sorted({line for lines in DRIVER_EXTRAS.values() for line in lines}),
    },
    entry_points={"console_scripts": [f"latent-policy = {NAME}.cli:main"]},
)
