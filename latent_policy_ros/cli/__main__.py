from latent_policy_ros.cli import main

main()
