"""U-Net policies of this package and of LeRobot 0.4.4 in one run, on one thread: a training step, and one action chunk.

    python3.11 -m venv peer
    peer/bin/pip install torch==2.13.0 && peer/bin/pip install --no-deps torchvision==0.28.0 lerobot==0.4.4
    peer/bin/pip install 'diffusers<0.36' 'huggingface-hub<0.36' 'einops<0.9' draccus==0.10.0 'datasets<5' 'accelerate<2' \\
        'gymnasium<2' 'deepdiff<9' 'jsonlines<5' 'av<16' 'imageio[ffmpeg]<3' 'termcolor<4' 'opencv-python-headless<4.13' \\
        'pyserial<4'
    .venv/bin/python benchmarks/networks.py --peer peer/bin/python

Both U-Nets have the same widths, one camera of 96 px, and chunks of 16 steps of 10 numbers. LeRobot encodes the images of two
time steps with a ResNet-18, a policy of this package those of one. The two take turns, so that other processes slow down both.
Prints the median and the lowest time of each [ms] and their ratio. A chunk has 8 DDIM steps.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import numpy as np
import torch

from latent_policy_ros.policy.network.denoisers.unet import UNetDenoiser
from latent_policy_ros.policy.network.diffusion import PolicyNetwork
from latent_policy_ros.policy.network.observation_batch import CameraImages, ObservationBatch
from latent_policy_ros.policy.settings import ModelSettings

HORIZON, ACTION, SIZE = 16, 10, 96


def optimised(network: torch.nn.Module) -> Callable[[torch.Tensor], None]:
    """Function that does one optimizer step for a loss."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)

    def step(loss: torch.Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def cases(batch: int, widths: tuple[int, ...]) -> dict[str, Callable[[], object]]:
    """One call of each measured function, by name."""
    found: dict[str, Callable[[], object]] = {}
    unet = UNetDenoiser(HORIZON, ACTION, 256, widths=widths)
    noisy, t, condition = torch.randn(batch, HORIZON, ACTION), torch.randint(100, (batch,)), torch.randn(batch, 256)
    unet_step = optimised(unet)
    found["unet_train"] = lambda: unet_step(unet(noisy, t, condition).square().mean())
    found["unet_infer"] = torch.no_grad()(lambda: unet(noisy[:1], t[:1], condition[:1]))
    for encoder in ("resnet18", "keypoints"):
        settings = ModelSettings(
            cameras=("front",), image_encoder=encoder, denoiser="unet", denoiser_options={"widths": list(widths)}
        )
        network = PolicyNetwork(settings, ACTION - 9).to(memory_format=torch.channels_last)
        step, seen = optimised(network), [observations(count) for count in (1, batch)]
        levels, noise = torch.randint(100, (1, batch)), torch.randn(1, batch, HORIZON, ACTION)

        def train(network=network, step=step, seen=seen, levels=levels, noise=noise) -> None:
            step(network.loss(seen[1], noise[0], levels, noise))

        found[f"{encoder}_train"] = train
        found[f"{encoder}_infer"] = lambda network=network, seen=seen: network.sample(seen[0], torch.Generator())
    return found


def observations(count: int) -> ObservationBatch:
    """Random observations of one camera."""
    images = torch.randint(256, (count, SIZE, SIZE, 3), dtype=torch.uint8)
    return ObservationBatch(
        torch.randn(count, 2, ACTION + 1), {"front": CameraImages(torch.arange(count), images)}, [""] * count, [""] * count
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", required=True, help="Python of a LeRobot installation")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--widths", type=int, nargs="+", default=[128, 256, 512])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    script = Path(__file__).parent / "peers" / "lerobot_diffusion.py"
    command = [arguments.peer, str(script), str(arguments.batch), *map(str, arguments.widths)]
    own = cases(arguments.batch, tuple(arguments.widths))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as peer:
        assert peer.stdin and peer.stdout

        def peer_time(name: str) -> float:
            assert peer.stdin and peer.stdout
            print(name, file=peer.stdin, flush=True)
            return float(peer.stdout.readline())

        def own_time(name: str) -> float:
            start = time.perf_counter()
            own[name]()
            return 1e3 * (time.perf_counter() - start)

        for kind in ("train", "infer"):
            names = {f"unet_{kind}": "unet", f"resnet18_{kind}": "policy", f"keypoints_{kind}": "policy"}
            times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
            for round_ in range(arguments.rounds + 1):
                for name, peer_case in names.items():
                    pair = own_time(name), peer_time(f"{peer_case}_{kind}")
                    if round_:  # the first one warms up
                        times[name].append(pair)
            for name, pairs in times.items():
                (median, peer_median), (least, peer_least) = np.median(pairs, axis=0), np.min(pairs, axis=0)
                print(
                    f"{name:16} {median:8.1f} (lowest {least:.1f}) ms   LeRobot {peer_median:8.1f} (lowest {peer_least:.1f}) ms   "
                    f"ratio {median / peer_median:.2f} (lowest {least / peer_least:.2f})",
                    flush=True,
                )
        peer.stdin.close()


if __name__ == "__main__":
    main()
