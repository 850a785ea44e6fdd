"""Saved tensors: written atomically, loaded whole or refused, never pickled."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from latent_policy_ros.common.errors import ArtifactError


def canonical_json(value: Any) -> str:
    """The one spelling of ``value`` as JSON: sorted keys, no spaces, floats as Python writes them."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def content_hash(description: dict[str, Any], tensors: dict[str, np.ndarray]) -> str:
    """SHA-256 (hex) over the canonical JSON and every tensor's name, type, shape and bytes, in the order of names."""
    digest = hashlib.sha256(canonical_json(description).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(canonical_json([name, array.dtype.str, list(array.shape)]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` so that ``path`` holds all of it or is left as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(data)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def save_tensors(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> None:
    """Write named arrays (and a few strings for the header) as one safetensors file."""
    write_atomically(path, save({name: np.ascontiguousarray(a) for name, a in tensors.items()}, metadata))


def save_described(folder: Path, stem: str, tensors: dict[str, np.ndarray], description: dict[str, Any]) -> None:
    """Write ``<stem>.safetensors`` and ``<stem>.json``; the JSON last, as it vouches for the other."""
    save_tensors(folder / f"{stem}.safetensors", tensors)
    write_atomically(folder / f"{stem}.json", (json.dumps(description, indent=1) + "\n").encode())


def load_described(
    folder: Path, stem: str, formats: str | tuple[str, ...], retrain: str, remedy: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read what ``save_described`` wrote: the description, whose ``format`` must be (one of) the expected, and the tensors.

    Raises:
        ArtifactError: Either file is missing or damaged (do as ``remedy`` says), or of another format (``retrain``).
    """
    file = folder / f"{stem}.json"
    described = load_json(file, ArtifactError, remedy)
    known = (formats,) if isinstance(formats, str) else formats
    if described.get("format") not in known:
        expected = " or ".join(map(repr, known))
        raise ArtifactError(
            f"{file}: format: expected {expected}, got {described.get('format')!r}; update this package to read it, or {retrain}"
        )
    tensors, _ = load_tensors(folder / f"{stem}.safetensors", ArtifactError, remedy)
    return described, tensors


def load_tensors(path: Path, error: type[Exception], remedy: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read one safetensors file: its arrays and the strings of its header.

    Raises:
        error: The file is missing, cut short or not safetensors; the message ends with ``remedy``.
    """
    if not path.is_file():
        raise error(f"{path}: no such file; {remedy}")
    try:
        with safe_open(str(path), framework="numpy") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError, TypeError) as cause:
        raise error(f"{path}: damaged or not a safetensors file ({path.stat().st_size} bytes: {cause}); {remedy}") from cause


def load_json(path: Path, error: type[Exception], remedy: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        error: The file is missing or not a JSON object; the message ends with ``remedy``.
    """
    if not path.is_file():
        raise error(f"{path}: no such file; {remedy}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as cause:
        raise error(f"{path}: not JSON ({cause}); {remedy}") from cause
    if not isinstance(value, dict):
        raise error(f"{path}: expected a JSON object, got {type(value).__name__}; {remedy}")
    return value
