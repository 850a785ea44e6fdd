"""LeRobot's DiffusionPolicy, timed for ../networks.py: reads the name of a case from each line of stdin, prints milliseconds.

Arguments: BATCH WIDTH... Cases: unet_train, unet_infer, policy_train, policy_infer. Images are 96 px, states 9, actions 10.
"""

import os
import sys
import time

os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")

import torch

torch.set_num_threads(1)
try:
    import torchvision  # noqa: F401
except RuntimeError:  # its CUDA build does not load beside a CPU build of torch: declare the operators that it expects
    for name in [name for name in sys.modules if name.startswith("torchvision")]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from lerobot.configs.types import FeatureType, PolicyFeature  # noqa: E402
from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig  # noqa: E402
from lerobot.policies.diffusion.modeling_diffusion import DiffusionConditionalUnet1d, DiffusionPolicy  # noqa: E402

STATE, ACTION, HORIZON, SIZE, CONDITION = 9, 10, 16, 96, 146


def main() -> None:
    batch, widths = int(sys.argv[1]), tuple(map(int, sys.argv[2:]))
    features = {
        "observation.state": PolicyFeature(FeatureType.STATE, (STATE,)),
        "observation.images.front": PolicyFeature(FeatureType.VISUAL, (3, SIZE, SIZE)),
    }
    config = DiffusionConfig(
        input_features=features, output_features={"action": PolicyFeature(FeatureType.ACTION, (ACTION,))}, device="cpu",
        horizon=HORIZON, n_obs_steps=2, n_action_steps=8, down_dims=widths, noise_scheduler_type="DDIM", num_train_timesteps=100,
        num_inference_steps=8,
    )  # fmt: skip
    unet, policy = DiffusionConditionalUnet1d(config, global_cond_dim=CONDITION), DiffusionPolicy(config)
    optimizers = {net: torch.optim.AdamW(net.parameters(), lr=1e-4) for net in (unet, policy)}
    noisy, t, condition = torch.randn(batch, HORIZON, ACTION), torch.randint(100, (batch,)), torch.randn(batch, CONDITION)
    seen = {"observation.state": torch.randn(batch, 2, STATE), "observation.images.front": torch.rand(batch, 2, 3, SIZE, SIZE)}
    demonstrated = {"action": torch.randn(batch, HORIZON, ACTION), "action_is_pad": torch.zeros(batch, HORIZON, dtype=torch.bool)}
    newest = {name: values[:1, -1] for name, values in seen.items()}

    def train(net, loss):
        optimizers[net].zero_grad()
        loss.backward()
        optimizers[net].step()

    @torch.no_grad()
    def unet_infer():
        unet(noisy[:1], t[:1], global_cond=condition[:1])

    @torch.no_grad()
    def policy_infer():
        policy.eval().reset()
        policy.select_action(dict(newest))
        policy.train()

    cases = {
        "unet_train": lambda: train(unet, unet(noisy, t, global_cond=condition).square().mean()),
        "policy_train": lambda: train(policy, policy.forward({**seen, **demonstrated})[0]),
        "unet_infer": unet_infer,
        "policy_infer": policy_infer,
    }
    for line in sys.stdin:
        start = time.perf_counter()
        cases[line.strip()]()
        print(1e3 * (time.perf_counter() - start), flush=True)


if __name__ == "__main__":
    main()
