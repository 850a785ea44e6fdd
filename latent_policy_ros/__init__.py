"""One learned policy on many different robot hands: latent action diffusion on ROS 2.

The folders read as the data flows: embodiments -> retargeting -> latent -> data -> policy -> drivers -> sim -> nodes.
Each imports only what stands before it, and only ``nodes`` imports rclpy.
"""

from pkgutil import extend_path

# The generated messages (``latent_policy_ros.msg``) are installed by CMake into site-packages. Extending the path lets
# a source checkout that comes first on ``sys.path`` find them too.
__path__ = extend_path(__path__, __name__)
__version__ = "0.1.0"
