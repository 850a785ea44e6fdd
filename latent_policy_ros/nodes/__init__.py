"""The ROS 2 nodes: thin, over code that knows nothing of ROS. With launch/, the only place that imports rclpy."""
