from latent_policy_ros.ros_env import DOMAINS, private_domain


def test_two_runs_never_share_a_domain():
    with private_domain() as a, private_domain() as b:
        assert a["ROS_DOMAIN_ID"] != b["ROS_DOMAIN_ID"]
        assert {int(a["ROS_DOMAIN_ID"]), int(b["ROS_DOMAIN_ID"])} <= set(DOMAINS)
        assert a["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
