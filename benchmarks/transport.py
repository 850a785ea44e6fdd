"""What Fast DDS's transports cost and risk: real processes, one of which is killed or halted again and again.

Run from the checkout:

    .venv/bin/python benchmarks/transport.py

``shared``: everybody uses shared memory. ``udp``: nobody does. ``split``: as the nodes do it, only those that deal in images do
(``latent_policy_ros/ros_env.py``). A driver publishes joint states at 100 Hz to a bystander and to ``VICTIMS`` that deal in
images. Told are turns of the driver's loop that took longer than ``STILL``; victims that hear nothing any more two seconds
after their halt; a bystander or a victim's successor that hears nothing for long.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import sys
import time

import numpy as np

RATE = 100.0  # Hz, of joint states
STILL = 0.3  # s without a turn of a driver's loop: its robot has begun to hold by then
HALT = 1.5  # s
PICTURES = ((96, 96), 30.0), ((320, 320), 15.0), ((480, 640), 30.0)  # height, width; Hz
VICTIMS = 4


def shares(way: str, images: bool) -> bool:
    """Whether a process uses shared memory."""
    return way == "shared" or (way == "split" and images)


def node(shared: bool):
    """A node of this process."""
    import rclpy

    from latent_policy_ros.nodes.base import ros_context

    ros_context.init(shared)
    return rclpy.create_node(f"process_{os.getpid()}")


def drive(shared: bool, pipe) -> None:
    """A driver: publishes, and sends the time of each turn that came late, with how late."""
    me = node(shared)
    from array import array

    from sensor_msgs.msg import JointState

    from latent_policy_ros.nodes.topics import qos

    publisher = me.create_publisher(JointState, "joint_states", qos.STATES)
    message = JointState(name=[f"joint_{k}" for k in range(20)], position=array("d", [0.5] * 20))
    due = last = time.monotonic()
    while True:
        publisher.publish(message)
        now = time.monotonic()
        if now - last > STILL:
            pipe.send((last, now))
        last, due = now, max(due + 1 / RATE, now)
        time.sleep(max(0.0, due - now))


def listen(shared: bool, heard) -> None:
    """A subscriber: ``heard`` is when it last heard anything."""
    me = node(shared)
    import rclpy
    from sensor_msgs.msg import JointState

    from latent_policy_ros.nodes.topics import qos

    def note(_) -> None:
        heard.value = time.monotonic()

    me.create_subscription(JointState, "joint_states", note, qos.STATES)
    rclpy.spin(me)


class Listener:
    """A subscriber's process."""

    def __init__(self, context, shared: bool) -> None:
        self.heard = context.Value("d", 0.0, lock=False)
        self.process = context.Process(target=listen, args=(shared, self.heard), daemon=True)
        self.process.start()

    def hears(self, since: float, patience: float) -> bool:
        """Whether it heard anything after ``since``, waiting for at most ``patience``."""
        while self.heard.value <= since:
            if time.monotonic() - since > patience:
                return False
            time.sleep(0.02)
        return True


def disturb(context, way: str, what: str, times: int) -> None:
    """Kill or halt a listener ``times`` times; print what that did to the others."""
    rng = random.Random(0)
    mine, theirs = context.Pipe(duplex=False)
    driver = context.Process(target=drive, args=(shares(way, images=False), theirs), daemon=True)
    driver.start()
    bystander = Listener(context, shares(way, images=False))
    victims = [Listener(context, shares(way, images=True)) for _ in range(VICTIMS)]
    everybody = [bystander, *victims]
    still, deaf, unheard, worst = 0, 0, 0, 0.0
    try:
        began = time.monotonic()
        if not all(one.hears(began, 30.0) for one in everybody):
            sys.exit(f"{way}: somebody does not hear the driver at the start")
        for turn in range(times):
            index = turn % VICTIMS
            victim = victims[index]
            time.sleep(rng.uniform(0.2, 0.4))
            if what == "kill":
                os.kill(victim.process.pid, signal.SIGKILL)
                victim.process.join()
                victims[index] = Listener(context, shares(way, images=True))
            else:
                os.kill(victim.process.pid, signal.SIGSTOP)
                time.sleep(HALT)
                os.kill(victim.process.pid, signal.SIGCONT)
                if not victim.hears(time.monotonic(), 2.0):
                    deaf += 1
                    os.kill(victim.process.pid, signal.SIGKILL)
                    victims[index] = Listener(context, shares(way, images=True))
            if what == "kill" and not victims[index].hears(time.monotonic(), 10.0):
                unheard += 1
            while mine.poll():
                before, after = mine.recv()
                still, worst = still + 1, max(worst, after - before)
            if not bystander.hears(time.monotonic(), 2.0):
                unheard += 1
            if sys.stderr.isatty():
                print(f"\r{way} {what} {turn + 1}/{times}", end="", file=sys.stderr)
    finally:
        for one in everybody + victims:
            one.process.kill()
        driver.kill()
        driver.join()
    print(f"\r{way:7s} {what:5s} {times:6d} {still:11d} {worst:10.2f} {deaf:5d} {unheard:10d}", flush=True)


def show(shared: bool, seconds: float, size, rate) -> None:
    """A camera; the number of an image is its frame."""
    me = node(shared)
    from array import array

    from sensor_msgs.msg import Image

    from latent_policy_ros.nodes.topics import qos

    publisher = me.create_publisher(Image, "image_raw", qos.IMAGES)
    height, width = size
    message = Image(height=height, width=width, step=width * 3, encoding="rgb8", data=array("B", bytes(height * width * 3)))
    while publisher.get_subscription_count() < 1:
        time.sleep(0.05)
    time.sleep(0.5)
    due = time.monotonic()
    for number in range(int(seconds * rate)):
        message.header.frame_id, stamp = str(number), time.time_ns()
        message.header.stamp.sec, message.header.stamp.nanosec = stamp // 10**9, stamp % 10**9
        publisher.publish(message)
        due += 1 / rate
        time.sleep(max(0.0, due - time.monotonic()))


def look(shared: bool, pipe) -> None:
    """Sees images until there are none for two seconds; sends the delay of each, and the CPU time that it took."""
    me = node(shared)
    import rclpy
    from sensor_msgs.msg import Image

    from latent_policy_ros.nodes.topics import qos

    delays: list[float] = []

    def note(message: Image) -> None:
        delays.append(time.time() - message.header.stamp.sec - message.header.stamp.nanosec * 1e-9)

    me.create_subscription(Image, "image_raw", note, qos.IMAGES)
    last, count = time.monotonic(), 0
    while not delays or time.monotonic() - last < 2.0:
        rclpy.spin_once(me, timeout_sec=0.1)
        if len(delays) > count:
            last, count = time.monotonic(), len(delays)
    pipe.send(delays)


def images(context, way: str, seconds: float, size, rate) -> None:
    shared = shares(way, images=True)
    mine, theirs = context.Pipe(duplex=False)
    viewer = context.Process(target=look, args=(shared, theirs), daemon=True)
    camera = context.Process(target=show, args=(shared, seconds, size, rate), daemon=True)
    viewer.start()
    camera.start()
    delays = np.array(mine.recv()) * 1e3 if mine.poll(seconds + 30) else np.array([np.nan])
    camera.join()
    viewer.kill()
    sent, (p50, p99) = int(seconds * rate), np.percentile(delays, (50, 99))
    print(f"{way:7s} {size[1]:4d} x {size[0]:3d} {rate:4.0f} {sent:6d} {sent - len(delays):6d} {p50:8.1f} {p99:8.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ways", nargs="+", default=["shared", "udp", "split"])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--halts", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    from latent_policy_ros.common.ros_environment import node_environment, private_domain

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["rclpy", "sensor_msgs.msg", "latent_policy_ros.nodes.topics.qos"])
    with private_domain() as domain:
        os.environ.update(node_environment(os.environ | domain))
        print("way     image      Hz   sent   lost   p50 ms   p99 ms", flush=True)
        for way in arguments.ways:
            for size, rate in PICTURES:
                images(context, way, arguments.seconds, size, rate)
        print("\nway     what   times  loop stood  longest s  deaf  not heard", flush=True)
        for way in arguments.ways:
            disturb(context, way, "kill", arguments.kills)
        for way in arguments.ways:
            disturb(context, way, "halt", arguments.halts)


if __name__ == "__main__":
    main()
