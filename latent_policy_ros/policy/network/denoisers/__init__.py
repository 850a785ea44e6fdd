"""Denoising networks of the diffusion policy, and their registry.

A denoiser is a :class:`torch.nn.Module` that predicts the clean action chunk from a noisy one::

    class MyDenoiser(nn.Module):
        def __init__(self, horizon: int, action_dim: int, condition_dim: int, *, depth: int = 4) -> None: ...
        def forward(self, noisy: Tensor, t: Tensor, condition: Tensor) -> Tensor: ...

Constructor:
    ``horizon`` H steps of ``action_dim`` A numbers (3 position, 6 rotation, L latent), and ``condition_dim`` C. Keyword-only
    parameters are options, set by ``denoiser_options`` in the model settings. Their defaults follow the rule of
    :class:`~latent_policy_ros.policy.settings.ModelSettings`: once released, they never change.
forward:
    ``noisy`` chunks (B, H, A) in scaled units, noise levels ``t`` (B,) int64 from 0 to diffusion_steps - 1, and observation
    features ``condition`` (B, C). Returns clean chunks (B, H, A).

at_levels (optional):
    What sampling uses in place of ``forward``, see :class:`~latent_policy_ros.policy.network.denoisers.levels.LevelDenoiser`.

Other packages register denoisers under the entry point group ``latent_policy_ros.denoisers``.
"""

from latent_policy_ros.common.registry import Registry

DENOISERS = Registry(
    "denoiser",
    "latent_policy_ros.denoisers",
    {
        "mlp": "latent_policy_ros.policy.network.denoisers.mlp:MLPDenoiser",
        "unet": "latent_policy_ros.policy.network.denoisers.unet:UNetDenoiser",
        "transformer": "latent_policy_ros.policy.network.denoisers.transformer:TransformerDenoiser",
    },
)
