"""Registries of extensions: built-in entries, and entry points of installed packages."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from latent_policy_ros.common.errors import LatentPolicyError, available


class Registry:
    """Named extensions of one kind, imported when they are first used.

    Args:
        kind: What an entry is, for error messages, e.g. ``task``.
        group: Entry point group in which other packages register theirs, e.g. ``latent_policy_ros.tasks``.
        builtin: Entries of this package: ``{name: "module:attribute"}``.
    """

    def __init__(self, kind: str, group: str, builtin: Mapping[str, str]) -> None:
        self.kind, self.group, self._builtin = kind, group, dict(builtin)

    def names(self) -> tuple[str, ...]:
        """All registered names, sorted."""
        return tuple(sorted({*self._builtin, *self._installed}))

    def load(self, name: str) -> Any:
        """Import and return one entry.

        Raises:
            LatentPolicyError: Unknown name, a name registered twice, or an entry that cannot be imported.
        """
        found = self._installed.get(name, [])
        owners = [*(["latent_policy_ros"] if name in self._builtin else []), *(_owner(point) for point in found)]
        if not owners:
            raise LatentPolicyError(f"unknown {self.kind} {name!r}; {available(self.names())}")
        if len(owners) > 1:
            raise LatentPolicyError(f"{self.kind} {name!r} is registered more than once: by {', '.join(owners)}; rename one")
        module, _, attribute = (self._builtin[name] if not found else found[0].value).partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except Exception as error:  # an extension may raise anything when it is imported
            raise LatentPolicyError(
                f"{self.kind} {name!r} of {owners[0]}: {module}:{attribute} cannot be imported: {type(error).__name__}: {error}"
            ) from error

    @cached_property
    def _installed(self) -> dict[str, list[EntryPoint]]:
        found: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=self.group):
            if point not in found.setdefault(point.name, []):
                found[point.name].append(point)
        return found


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value
