"""Registries: built-in entries, entry points, unknown and duplicate names, entries that cannot be imported."""

from importlib.metadata import EntryPoint

import pytest

from latent_policy_ros.common import registry
from latent_policy_ros.common.errors import LatentPolicyError

GROUP = "latent_policy_ros.shapes"


def make(monkeypatch, **installed):
    points = [EntryPoint(name, value, GROUP) for name, value in installed.items()]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == GROUP else [])
    return registry.Registry("shape", GROUP, {"path": "pathlib:Path"})


def test_builtin_and_installed_entries_load_by_name(monkeypatch):
    shapes = make(monkeypatch, counter="collections:Counter")
    assert shapes.names() == ("counter", "path")
    assert shapes.load("path").__name__ == "Path" and shapes.load("counter").__name__ == "Counter"


def test_unknown_name_lists_the_alternatives(monkeypatch):
    with pytest.raises(LatentPolicyError, match="unknown shape 'round'; available: counter, path"):
        make(monkeypatch, counter="collections:Counter").load("round")


def test_duplicate_name_names_both_owners(monkeypatch):
    with pytest.raises(LatentPolicyError, match="'path' is registered more than once: by latent_policy_ros, os:PathLike"):
        make(monkeypatch, path="os:PathLike").load("path")


@pytest.mark.parametrize("value", ["no_such_module:Thing", "collections:Nothing"])
def test_entry_that_cannot_be_imported_is_named(monkeypatch, value):
    with pytest.raises(LatentPolicyError, match=f"shape 'bad' of .*{value} cannot be imported"):
        make(monkeypatch, bad=value).load("bad")
