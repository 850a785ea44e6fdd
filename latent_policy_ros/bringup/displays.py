"""Displays of a fleet: a configuration of RViz and a layout of Foxglove, with the names of its robots and cameras."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from latent_policy_ros.bringup.fleet import Fleet

WORLD = "world"  # frame in the namespace of the fleet in which its robots stand
SPACING = 1.5  # distance of simulated robots that stand side by side [m]


def placements(fleet: Fleet) -> dict[str, list[float]]:
    """Poses of the robots' bases in the frame ``world``: x y z [m], roll pitch yaw [rad].

    Several simulated or mock robots stand side by side. Where robots of hardware stand is known only from the parameter
    ``world_pose`` of their description node; robots without it are left out.
    """
    side_by_side, found = len(fleet.robots) > 1 and not fleet.moves_hardware(), dict[str, list[float]]()
    for place, (name, robot) in enumerate(fleet.robots.items()):
        pose = robot.parameters.get("description", {}).get("world_pose")
        if pose is not None:
            found[name] = list(pose)
        elif side_by_side:
            found[name] = [0.0, -SPACING * place, 0.0, 0.0, 0.0, 0.0]
    return found


def world_frame(namespace: str) -> str:
    """Name of the frame in which the robots of a fleet in a namespace stand."""
    return "/".join(filter(None, [*namespace.split("/"), WORLD]))


def fixed_frame(fleet: Fleet, namespace: str) -> str:
    """Frame of a display: ``world`` if it has all robots, or else the base of the first robot."""
    if set(placements(fleet)) == set(fleet.robots):
        return world_frame(namespace)
    name, robot = next(iter(fleet.robots.items()))
    return f"{_prefix(fleet, namespace, name)}{robot.arm.base}"


def _prefix(fleet: Fleet, namespace: str, robot: str) -> str:
    """What precedes the names of a robot's topics and frames, without a leading ``/``."""
    return "".join(f"{part}/" for part in (*namespace.split("/"), fleet.robot_namespace(robot)) if part)


# --- RViz


def rviz_config(fleet: Fleet, namespace: str = "") -> str:
    """A configuration of RViz: model, measured wrist pose and cameras of each robot.

    Args:
        fleet: The robots; its nodes run with ``tf``.
        namespace: Namespace of the fleet's nodes.
    """
    displays = [
        _display("Grid", "Grid", {"Color": "160; 160; 164", "Plane Cell Count": 10, "Reference Frame": "<Fixed Frame>"}),
        _display("TF", "TF", {"Marker Scale": 0.3, "Show Names": False}, enabled=False),
    ]
    for name, robot in fleet.robots.items():
        prefix = _prefix(fleet, namespace, name)
        model = {"Description Source": "Topic", "Description Topic": _topic(f"/{prefix}robot_description", latched=True)}
        axes = {"Shape": "Axes", "Axes Length": 0.1, "Axes Radius": 0.008}
        inside = [
            _display("RobotModel", "RobotModel", {**model, "TF Prefix": prefix.rstrip("/"), "Visual Enabled": True}),
            _display("Pose", "Wrist pose", {**axes, "Topic": _topic(f"/{prefix}wrist_pose")}),
        ]
        for camera in robot.cameras:
            transport = "/compressed" if robot.images == "compressed" else ""
            inside.append(_display("Image", f"{name} {camera}", {"Topic": _topic(f"/{prefix}{camera}/image_raw{transport}")}))
        displays.append({"Class": "rviz_common/Group", "Displays": inside, "Enabled": True, "Name": name})
    middle = -SPACING * (len(fleet.robots) - 1) / 2 if fixed_frame(fleet, namespace).endswith(WORLD) else 0.0
    view = {
        "Class": "rviz_default_plugins/Orbit", "Name": "Current View", "Distance": 2.0 + len(fleet.robots),
        "Pitch": 0.5, "Yaw": 0.6, "Focal Point": {"X": 0.3, "Y": middle, "Z": 0.3}, "Target Frame": "<Fixed Frame>",
        "Value": "Orbit (rviz_default_plugins)",
    }  # fmt: skip
    tools = ["MoveCamera", "Select", "FocusCamera", "Measure"]
    content = {
        "Panels": [{"Class": f"rviz_common/{name}", "Name": name} for name in ("Displays", "Views")],
        "Visualization Manager": {
            "Class": "", "Enabled": True, "Name": "root", "Displays": displays,
            "Global Options": {"Background Color": "48; 48; 48", "Fixed Frame": fixed_frame(fleet, namespace), "Frame Rate": 30},
            "Tools": [{"Class": f"rviz_default_plugins/{name}"} for name in tools],
            "Transformation": {"Current": {"Class": "rviz_default_plugins/TF"}},
            "Value": True, "Views": {"Current": view, "Saved": None},
        },
        "Window Geometry": {"Width": 1500, "Height": 900},
    }  # fmt: skip
    return yaml.safe_dump(content, sort_keys=False)


def write_rviz_config(fleet: Fleet, folder: Path, namespace: str = "") -> Path:
    """Write :func:`rviz_config` to a file named after the fleet and its namespace, and return its path."""
    return _write(folder, fleet, namespace, ".rviz", rviz_config(fleet, namespace))


def _write(folder: Path, fleet: Fleet, namespace: str, suffix: str, content: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / (".".join(filter(None, [*namespace.split("/"), re.sub(r"[^\w-]+", "_", fleet.file.stem)])) + suffix)
    file.write_text(content, encoding="utf-8")
    return file


def _display(kind: str, name: str, settings: Mapping[str, Any], enabled: bool = True) -> dict[str, Any]:
    return {"Class": f"rviz_default_plugins/{kind}", "Name": name, "Enabled": enabled, "Value": enabled, **settings}


def _topic(name: str, latched: bool = False) -> dict[str, Any]:
    """A subscription that receives what this package publishes: measurements are best effort, descriptions are latched."""
    return {
        "Value": name, "Depth": 5, "History Policy": "Keep Last", "Reliability Policy": "Reliable" if latched else "Best Effort",
        "Durability Policy": "Transient Local" if latched else "Volatile",
    }  # fmt: skip


# --- Foxglove


def foxglove_layout(fleet: Fleet, namespace: str = "", recorded: bool = True) -> str:
    """A layout of Foxglove: models, cameras, joints of each robot, and diagnostics.

    Args:
        fleet: The robots.
        namespace: Namespace of the fleet's nodes.
        recorded: Show the images of bags, which the recorder compresses; false: those of the running nodes.
    """
    panels: dict[str, dict[str, Any]] = {}
    layers: dict[str, dict[str, Any]] = {
        "grid": {"layerId": "foxglove.Grid", "instanceId": "grid", "label": "Grid", "visible": True}
    }
    topics, images, plots = {}, list[Any](), list[Any]()
    for name, robot in fleet.robots.items():
        prefix = _prefix(fleet, namespace, name)
        layers[name] = {
            "layerId": "foxglove.Urdf", "instanceId": name, "label": name, "visible": True, "sourceType": "topic",
            "topic": f"/{prefix}robot_description", "framePrefix": prefix, "displayMode": "visual",
        }  # fmt: skip
        topics[f"/{prefix}wrist_pose"] = {"visible": True, "type": "axis", "axisScale": 0.1}
        for camera in robot.cameras:
            compressed = "/compressed" if recorded or robot.images == "compressed" else ""
            mode = {"imageTopic": f"/{prefix}{camera}/image_raw{compressed}", "calibrationTopic": f"/{prefix}{camera}/camera_info"}
            images.append(panel := f"Image!{name}_{camera}")
            panels[panel] = {"foxglovePanelTitle": f"{name} {camera}", "imageMode": mode}
        plots.append(panel := f"Plot!{name}")
        path = {"value": f"/{prefix}joint_states.position[:]", "enabled": True, "timestampMethod": "headerStamp"}
        panels[panel] = {"foxglovePanelTitle": f"{name} joints", "paths": [path], "followingViewWidth": 20}
    panels["3D!robots"] = {
        "followMode": "follow-none", "followTf": fixed_frame(fleet, namespace), "layers": layers, "topics": topics,
        "scene": {"meshUpAxis": "z_up"}, "cameraState": {"distance": 2.0 + len(fleet.robots), "phi": 60.0, "thetaOffset": 125.0},
    }  # fmt: skip
    panels["DiagnosticSummary!all"] = {"topicToRender": "/diagnostics", "minLevel": 0}
    side = _split("column", images) if images else None
    above = _split("row", ["3D!robots", *([side] if side else [])], 65)
    layout = _split("column", [above, _split("row", [*plots, "DiagnosticSummary!all"])], 70)
    content = {"configById": panels, "globalVariables": {}, "userNodes": {}, "playbackConfig": {"speed": 1}, "layout": layout}
    return json.dumps(content, indent=2) + "\n"


def write_foxglove_layout(fleet: Fleet, folder: Path, namespace: str = "", recorded: bool = True) -> Path:
    """Write :func:`foxglove_layout` to a file named after the fleet and its namespace, and return its path."""
    return _write(folder, fleet, namespace, ".json", foxglove_layout(fleet, namespace, recorded))


def _split(direction: str, parts: Sequence[Any], percentage: float | None = None) -> Any:
    """Panels side by side (``row``) or one above the other (``column``), of equal size unless ``percentage`` is the first one's."""
    first, *rest = parts
    if not rest:
        return first
    share: Mapping[str, Any] = {"splitPercentage": percentage or 100 / len(parts)}
    return {"direction": direction, "first": first, "second": _split(direction, rest), **share}
