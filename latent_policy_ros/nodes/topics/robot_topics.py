"""Names of a robot's topics, relative to the node of several robots that uses them."""

ROBOT_NAMESPACES = "robot_namespaces"  # parameter of all nodes of several robots
ROBOT_NAMESPACES_HELP = "Topics of a robot are in a namespace of its name; false, for one robot: in the node's own namespace."


def robot_prefix(robot: str, namespaced: bool) -> str:
    """What precedes the names of a robot's topics, with its slash.

    Args:
        robot: Name of the robot.
        namespaced: Value of the parameter ``robot_namespaces``.
    """
    return f"{robot}/" if namespaced else ""
