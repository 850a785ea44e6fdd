"""Draw docs/images/diagram.png, the graph of nodes and topics of a fleet: python docs/images/draw_diagram.py"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

OUT = Path(__file__).with_name("diagram.png")
NODE, SHARED, HARDWARE, TEXT, EDGE = "#dbe9f6", "#fde3c8", "#e7e7e7", "#1b2a3a", "#51606f"
ROBOTS = (("left", 4.35, "hand_command", "hand_driver_node"), ("right", 1.05, "gripper_command", "gripper_driver_node"))


def box(axes, x, y, width, height, title, detail="", color=NODE):
    """A rounded box whose lower left corner is (x, y), with a title and a line of detail."""
    axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0.02,rounding_size=0.12", fc=color, ec=EDGE, lw=1.2))
    shift = (0.17 + 0.12 * detail.count("\n")) if detail else 0.0
    axes.text(x + width / 2, y + height / 2 + shift, title, ha="center", va="center", fontsize=9.5, color=TEXT, weight="bold")
    if detail:
        axes.text(x + width / 2, y + height / 2 - 0.2, detail, ha="center", va="center", fontsize=8, color=TEXT)


def arrow(axes, start, end, label="", above=0.1):
    """An arrow with the name of its topic at the middle."""
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=13, lw=1.3, color=EDGE, shrinkA=0, shrinkB=0))
    if label:
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + above)
        axes.text(*middle, label, ha="center", va="bottom", fontsize=8.5, color=TEXT, family="monospace")


def draw():
    """Write the figure."""
    figure, axes = plt.subplots(figsize=(12.6, 5.6), dpi=110)
    axes.set(xlim=(0, 16.3), ylim=(0.2, 7.1))
    axes.axis("off")
    box(axes, 4.6, 2.6, 2.4, 1.7, "policy_node", "latent diffusion, one\nbatch for all robots", SHARED)
    for name, y, command, driver in ROBOTS:
        top = name == "left"
        axes.text(0.2, y + 1.8, f"/{name}", fontsize=12, color=EDGE, family="monospace", weight="bold")
        box(axes, 0.2, y, 2.2, 1.5, "robot", "cameras, joints, wrist", HARDWARE)
        box(axes, 8.7, y, 2.3, 1.5, "decoder_node", "latent to joints")
        box(axes, 13.4, y + 0.8, 2.75, 0.7, driver)
        box(axes, 13.4, y - 0.1, 2.75, 0.7, "arm_driver_node")
        arrow(axes, (2.4, y + 0.75), (4.6, 3.9 if top else 3.0))
        topics = "image_raw\njoint_states\nwrist_pose"
        axes.text(2.5, y + (1.05 if top else 0.05), topics, fontsize=8.5, family="monospace", color=TEXT)
        arrow(axes, (7.0, 3.9 if top else 3.0), (8.7, y + 0.75))
        axes.text(7.0, y + (0.95 if top else 0.42), "latent_action", fontsize=8.5, family="monospace", color=TEXT)
        arrow(axes, (11.0, y + 1.15), (13.4, y + 1.15), command)
        arrow(axes, (11.0, y + 0.25), (13.4, y + 0.25), "wrist_command")
    box(axes, 4.6, 5.5, 2.4, 1.0, "human_hand_node", "teleoperation through\nthe same latents", SHARED)
    box(axes, 4.6, 0.3, 2.4, 1.0, "recorder_node", "records all topics:\none MCAP bag an episode", SHARED)
    arrow(axes, (7.0, 6.0), (8.7, 5.5))
    figure.savefig(OUT, bbox_inches="tight", pad_inches=0.1)


if __name__ == "__main__":
    draw()
