"""``python -m latent_policy_ros.cli``: the same as ``latent-policy``."""

from latent_policy_ros.cli import main

if __name__ == "__main__":
    main()
