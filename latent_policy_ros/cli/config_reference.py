"""Reference page of the configuration files, generated from the fields of their models."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

from latent_policy_ros.bringup.fleet import Fleet
from latent_policy_ros.common.config import Config
from latent_policy_ros.common.config_messages import expected_value
from latent_policy_ros.control.arm_description import ArmFile
from latent_policy_ros.data.conversion.mapping_file import MappingFile
from latent_policy_ros.drivers.bus.motor_file import MotorFile
from latent_policy_ros.embodiments.description.embodiment_file import DescribedFile, HumanFile, TableFile
from latent_policy_ros.latent.settings import LatentSettings
from latent_policy_ros.policy.settings import PolicySettings

HEADER = """\
# Configuration files

<!-- Generated from the code by: latent-policy reference --write docs/reference -->

All configuration files are YAML. Unknown fields and duplicate keys are errors, and every mistake of a file is reported at once
with the dotted path of its field. A dotted path `robots.<name>.driver` means the field `driver` of each entry of `robots`.
Paths of descriptions and meshes are relative to the file that names them, folders of policies and latent spaces to the
working directory; `~`, `$VARIABLES` and `package://NAME/PATH` are expanded.
"""
#: (title, where such files are, model)
FILES: tuple[tuple[str, str, type[Config]], ...] = (
    ("Fleets", "`config/robots`, `latent-policy up FLEET`, `bringup.launch.py robots:=FLEET`", Fleet),
    ("Motors", "`config/motors`, the drivers `dynamixel@FILE` and `feetech@FILE`", MotorFile),
    ("Arms", "`config/arms`, field `arm` of a robot", ArmFile),
    ("Embodiments with a URDF or MJCF file", "`config/embodiments`, field `embodiment` of a robot", DescribedFile),
    ("Embodiments with a table of hinges", "`config/embodiments`, field `embodiment` of a robot", TableFile),
    ("Human hands", "`config/embodiments`", HumanFile),
    ("Mappings of bags", "`config/mappings`, `latent-policy dataset from-bags --mapping NAME`", MappingFile),
    ("Training of a latent space", "`config/training`, `latent-policy train latent --settings NAME`", LatentSettings),
    ("Training of a policy", "`config/training`, `latent-policy train policy --settings NAME`", PolicySettings),
)


def config_page() -> str:
    """Every configuration file with its fields, as Markdown."""
    parts = [HEADER]
    for title, place, model in FILES:
        summary = " ".join((inspect.getdoc(model) or "").split("\n\n")[0].split()).replace("``", "`")
        rows = [("Field", "Value", "Default", "Description"), ("---",) * 4, *_rows(model, "")]
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
        parts.append(f"## {title}\n\n{summary} Used in: {place}.\n\n{table}\n")
    return "\n".join(parts)


def _rows(model: type[Config], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    """(path, value, default, description) of every field of a model and of the models below it."""
    for name, field in model.model_fields.items():
        below = _model_below(field.annotation)
        value = "a mapping" if below else expected_value(field)
        yield f"`{prefix}{name}`", value.removeprefix("a "), _default(field), field.description or ""
        if below:
            keys, inner = below
            yield from _rows(inner, f"{prefix}{name}{keys}.")


def _model_below(annotation: Any) -> tuple[str, type[Config]] | None:
    """(text of the keys, model) of a field that contains a model or a mapping of names to models."""
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return "", annotation
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is dict:
        found = _model_below(arguments[1])
        return found and (".<name>" + found[0], found[1])
    options = arguments[:1] if origin is Annotated else arguments
    return next((found for option in options if (found := _model_below(option))), None)


def _default(field: Any) -> str:
    """The default as YAML writes it; empty where the description explains it."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if "Default:" in (field.description or "") or value is None or isinstance(value, Config) or value in ("", (), {}):
        return ""
    if isinstance(value, tuple):
        return f"`[{', '.join(str(item) for item in value)}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
