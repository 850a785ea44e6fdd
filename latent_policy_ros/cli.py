"""``latent-policy``: everything that can be done without a ROS 2 installation, as one command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from latent_policy_ros.errors import LatentPolicyError

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)
train = typer.Typer(no_args_is_help=True, help="Train the latent space, or a policy in it.")
dataset = typer.Typer(no_args_is_help=True, help="Make training data.")
embodiments = typer.Typer(no_args_is_help=True, help="List, show and check end-effectors.")
app.add_typer(train, name="train")
app.add_typer(dataset, name="dataset")
app.add_typer(embodiments, name="embodiments")
console = Console()

DEMO_EMBODIMENTS = ("mimic_hand", "panda_gripper")
EVALUATION_SEED = 1_000_000  # the first; far from every seed that demonstrations are made from

LatentOption = Annotated[str, typer.Option("--latent", help="A latent space: its folder, or a name in config/latents.")]
PolicyOption = Annotated[str, typer.Option("--policy", help="A policy: its folder, or a name in config/policies.")]


def _folder(kind: str, name: str) -> Path:
    from latent_policy_ros.paths import artifact

    return artifact(kind, name)


def _progress() -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=console)


@app.command()
def demo(
    episodes: Annotated[int, typer.Option(help="Episodes to run, one after the other.")] = 1,
    seed: Annotated[int, typer.Option(help="Decides where cube and box stand.")] = EVALUATION_SEED,
    fleet: Annotated[str, typer.Option(help="Fleet: a YAML file, or a name in config/robots.")] = "demo",
    out: Annotated[Optional[Path], typer.Option(help="Folder for bag, video, pictures and summary.")] = None,
) -> None:
    """Two robots, one policy, real ROS 2: bring the fleet up, run it, record it, show what happened."""
    from latent_policy_ros.demo import run_demo

    raise typer.Exit(run_demo(fleet, episodes, seed, out, console))


@app.command()
def up(
    fleet: Annotated[str, typer.Argument(help="Fleet: a YAML file, or a name in config/robots.")] = "demo",
    record: Annotated[bool, typer.Option(help="Also start the recorder.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the nodes that would run.")] = False,
) -> None:
    """Start every node of a fleet as a process of its own (what `ros2 launch` does, without it)."""
    from latent_policy_ros import bringup
    from latent_policy_ros.supervisor import Supervisor

    specs = bringup.node_specs(bringup.load_fleet(fleet), record=record)
    if dry_run:
        for spec in specs:
            console.print(f"{spec.executable:22s} {spec.namespace}/{spec.name}  {spec.parameters}", highlight=False)
        return
    raise typer.Exit(Supervisor(specs, restart=True).run())


@app.command("eval")
def evaluate_command(
    policy: PolicyOption = "default",
    latent: LatentOption = "default",
    embodiment: Annotated[Optional[list[str]], typer.Option(help="Repeatable; default: those of the demo.")] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Seeded episodes for each embodiment.")] = 100,
    first_seed: Annotated[int, typer.Option(help="Evaluation seeds begin here, beyond all training seeds.")] = EVALUATION_SEED,
    latency: Annotated[float, typer.Option(help="Observation to usable chunk [s].")] = 0.08,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    json_out: Annotated[Optional[Path], typer.Option("--json", help="Also write every rollout here.")] = None,
) -> None:
    """Success of a policy in simulation, through the robot's own decoder and safety code, with 95% intervals."""
    import json
    from dataclasses import asdict

    from latent_policy_ros.sim.evaluate import evaluate, wilson_interval

    names = embodiment or DEMO_EMBODIMENTS
    seeds = range(first_seed, first_seed + episodes)
    with _progress() as progress:
        task = progress.add_task("rollouts", total=len(names) * episodes)
        results = evaluate(
            _folder("policies", policy), _folder("latents", latent), names, seeds,
            workers=workers, latency=latency, on_result=lambda _: progress.advance(task),
        )
    table = Table("embodiment", "success", "95% interval", "median time [s]", title=f"{policy}: {episodes} seeded episodes each")
    for name in names:
        mine = [r for r in results if r.embodiment == name]
        wins = [r for r in mine if r.success]
        low, high = wilson_interval(len(wins), len(mine))
        times = sorted(r.seconds for r in wins)
        median = f"{times[len(times) // 2]:.1f}" if times else "-"
        table.add_row(name, f"{len(wins)}/{len(mine)} = {len(wins) / len(mine):.0%}", f"{low:.0%} .. {high:.0%}", median)
    console.print(table)
    if json_out:
        json_out.write_text(json.dumps([asdict(r) for r in results], indent=1))


@dataset.command("from-sim")
def from_sim(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder; one subfolder for each embodiment.")],
    embodiment: Annotated[Optional[list[str]], typer.Option(help="Repeatable; default: those of the demo.")] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Demonstrations for each embodiment.")] = 300,
    first_seed: Annotated[int, typer.Option(help="First seed.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Record the scripted expert, headless and seeded. Episodes that exist already are kept: run again to resume."""
    from latent_policy_ros.sim.generate import generate_episodes

    for name in embodiment or DEMO_EMBODIMENTS:
        with _progress() as progress:
            task = progress.add_task(name, total=episodes)
            report = generate_episodes(
                name, range(first_seed, first_seed + episodes), out / name, workers=workers,
                progress=lambda *_, task=task: progress.advance(task),
            )
        console.print(f"{name}: {report}")


@train.command("latent")
def train_latent_command(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the latent space.")],
    settings: Annotated[str, typer.Option(help="Settings: a YAML file, or a name in config/training.")] = "latent",
) -> None:
    """Human motion -> retargeted pairs -> contrastive encoders and decoders: the shared latent space."""
    from latent_policy_ros.latent.train import train_latent_from_settings

    train_latent_from_settings(settings, out, console)


@train.command("policy")
def train_policy_command(
    data: Annotated[list[Path], typer.Argument(help="Folders of episodes; every embodiment's trains the one policy.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the policy and its training state.")],
    latent: LatentOption = "default",
    settings: Annotated[str, typer.Option(help="Settings: a YAML file, or a name in config/training.")] = "policy",
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over instead of resuming.")] = False,
) -> None:
    """Train the latent diffusion policy. Ctrl-C saves; the same command resumes."""
    from latent_policy_ros.policy.train import train_policy_from_settings

    train_policy_from_settings(settings, data, _folder("latents", latent), out, resume=not fresh, console=console)


@embodiments.command("list")
def embodiments_list() -> None:
    """The embodiments that are shipped, with their numbers of joints."""
    from latent_policy_ros.embodiments import list_embodiments, load_embodiment

    table = Table("name", "kind", "actuated", "hinges", "action")
    for name in list_embodiments():
        e = load_embodiment(name)
        table.add_row(name, e.kind, str(len(e.joint_names)), str(len(e.hinges)), str(e.action_dim))
    console.print(table)


@embodiments.command("show")
def embodiments_show(name: Annotated[str, typer.Argument(help="A name from `list`, or a YAML file.")]) -> None:
    """Joints, limits and fingertips of an embodiment. Loading validates: a wrong file says what to change."""
    from latent_policy_ros.embodiments import load_embodiment

    e = load_embodiment(name)
    table = Table("joint", "lower", "upper", "max velocity", "rest", title=f"{e.name} ({e.kind})  {e.content_hash[:12]}")
    for row in zip(e.joint_names, e.lower, e.upper, e.max_velocity, e.rest):
        table.add_row(row[0], *(f"{value:.3f}" for value in row[1:]))
    console.print(table)
    console.print("fingertips: " + ", ".join(e.fingertips))


@app.command()
def doctor() -> None:
    """Check what this machine has: ROS 2, our messages, rendering, GPU, shipped artefacts."""
    from latent_policy_ros.doctor import checks

    failed = False
    for name, ok, detail in checks():
        failed |= not ok
        console.print(f"[{'green' if ok else 'red'}]{'ok  ' if ok else 'FAIL'}[/] {name}: {detail}", highlight=False)
    raise typer.Exit(int(failed))


def main() -> None:
    """Console script: errors made for people are printed as such, without a traceback."""
    try:
        app()
    except (LatentPolicyError, FileNotFoundError) as error:
        console.print(f"[bold red]error:[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
