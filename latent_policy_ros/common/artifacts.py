"""Artifacts on disk: named tensors in safetensors files and their description in JSON, written atomically, without pickle."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from latent_policy_ros.common.bounded_reader import LimitExceeded, parse_json, read_bytes
from latent_policy_ros.common.errors import ArtifactError

MAX_JSON_SIZE = 256 << 20  # bytes; manifests of earlier versions describe each episode of a data set


def canonical_json(value: Any) -> str:
    """``value`` as canonical JSON: sorted keys, no spaces, floats in Python's shortest notation."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def artifact_hash(description: dict[str, Any], tensors: dict[str, np.ndarray]) -> str:
    """SHA-256 (hex) of the canonical JSON and of each tensor's name, dtype, shape and bytes, in the order of names."""
    digest = hashlib.sha256(canonical_json(description).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(canonical_json([name, array.dtype.str, list(array.shape)]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file completely or leave it unchanged, by renaming a temporary file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.unlink(missing_ok=True)
        with partial.open("xb") as file:  # never through a link that is there
            file.write(data)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def save_tensors(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> None:
    """Write named arrays, and strings for the header, to a safetensors file."""
    write_atomically(path, save({name: np.ascontiguousarray(a) for name, a in tensors.items()}, metadata))


def save_artifact(folder: Path, stem: str, tensors: dict[str, np.ndarray], description: dict[str, Any]) -> None:
    """Write ``<stem>.safetensors`` and ``<stem>.json``; the JSON last, so that its presence means that both are complete."""
    save_tensors(folder / f"{stem}.safetensors", tensors)
    write_atomically(folder / f"{stem}.json", (json.dumps(description, indent=1) + "\n").encode())


def load_artifact(
    folder: Path, stem: str, formats: str | tuple[str, ...], retrain: str, remedy: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read an artifact that ``save_artifact`` wrote.

    Args:
        folder, stem: Location of the two files.
        formats: Accepted value or values of the description's field ``format``.
        retrain: What to do about another format, for the error message.
        remedy: What to do about a missing or damaged file, for the error message.

    Returns:
        (description, tensors)

    Raises:
        ArtifactError: A file is missing or damaged, or the format is another one.
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
    """Read the arrays and the header's strings of a safetensors file.

    Raises:
        error: The file is missing, truncated or not a safetensors file; the message ends with ``remedy``.
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
        value = parse_json(read_bytes(path, MAX_JSON_SIZE), MAX_JSON_SIZE)
    except LimitExceeded as cause:
        raise error(f"{path}: {cause}; {remedy}") from cause
    except ValueError as cause:
        raise error(f"{path}: not JSON ({cause}); {remedy}") from cause
    if not isinstance(value, dict):
        raise error(f"{path}: expected a JSON object, got {type(value).__name__}; {remedy}")
    return value
