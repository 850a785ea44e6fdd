"""diffusers' schedulers of noise, imported without torch's compiler.

diffusers imports the compiler for a decorator that schedulers do not use: two to five seconds, half the start of a policy
node, for which robots wait when their policy is started again. Where it cannot be imported, diffusers does without.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

COMPILER = "torch._dynamo"


@contextmanager
def _without_compiler() -> Iterator[None]:
    if COMPILER in sys.modules:
        yield
        return
    sys.modules[COMPILER] = None  # `import` raises ImportError
    try:
        yield
    finally:
        del sys.modules[COMPILER]


with _without_compiler():
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

__all__ = ["DDIMScheduler", "DDPMScheduler"]
