"""Construction of exchangeable network components (image encoders, denoisers) from their names and options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from latent_policy_ros.common.errors import LatentPolicyError, available
from latent_policy_ros.common.registry import Registry


def default_options(component: Callable[..., Any]) -> dict[str, Any]:
    """The options of a component: its keyword-only constructor parameters and their defaults."""
    parameters = inspect.signature(component).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def complete_options(registry: Registry, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """``options`` of the component ``name``, completed by its defaults and by its method ``resolve_options``, if it has one.

    Raises:
        LatentPolicyError: Unknown component, unknown option, no value for an option without a default, or pretrained weights
            that cannot be read.
    """
    component = registry.load(name)
    defaults = default_options(component)
    for option in options:
        if option not in defaults:
            raise LatentPolicyError(f"{registry.kind} {name!r}: unknown option {option!r}; {available(defaults)}")
    completed = {**defaults, **options}
    missing = [option for option, value in completed.items() if value is inspect.Parameter.empty]
    if missing:
        raise LatentPolicyError(f"{registry.kind} {name!r}: option {missing[0]!r} has no default: set it")
    return component.resolve_options(completed) if hasattr(component, "resolve_options") else completed


def build(registry: Registry, name: str, options: Mapping[str, Any], **arguments: Any) -> Any:
    """Construct the component ``name`` of a registry.

    Args:
        registry: Registry of the component classes.
        name: Name of the component.
        options: Options from the model settings.
        arguments: Constructor arguments that every component of the registry receives.

    Raises:
        LatentPolicyError: Unknown component or option, or the constructor raised TypeError or ValueError.
    """
    completed = complete_options(registry, name, options)
    try:
        return registry.load(name)(**arguments, **completed)
    except (TypeError, ValueError) as error:
        raise LatentPolicyError(f"{registry.kind} {name!r} with options {completed}: {error}") from error
