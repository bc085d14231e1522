"""`aepo plan`."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from aepo_rllib.cli.early import check_early
from aepo_rllib.cli.errors import input_errors
from aepo_rllib.cli.given import given_values
from aepo_rllib.cli.plan_table import as_record, show
from aepo_rllib.cli.quiet import quiet_libraries
from aepo_rllib.cli.saying import say
from aepo_rllib.cli.settings import unchecked
from aepo_rllib.cli.train import train_command

if TYPE_CHECKING:
    from aepo_rllib.planning.machine import Machine
    from aepo_rllib.planning.settings import Settings

NOT_OF_TRAIN = {"dry_run", "resume", "ray_address", "output", "track"}
GPUS_OF_NODE = 8
DEFAULT_CARD = 80


@click.command("plan", context_settings={"show_default": False})
@click.option("--gpus", type=click.IntRange(min=0), metavar="N", help="GPUs in all.  [default: this machine's]")
@click.option("--gpu-memory", type=float, metavar="GB", help="24, 40, 48, 80, 141 as in a card's name, or GiB of each.")
@click.option("--host-memory", type=float, metavar="GB", help="GiB of a node's memory.  [default: any]")
@click.option("--nodes", type=click.IntRange(min=1), metavar="N", help="Nodes.  [default: one for 8 GPUs]")
@click.option(
    "--prompt-tokens",
    type=click.IntRange(min=1),
    metavar="N",
    help="Of the longest prompt.  [default: measured where tokenizer and problems are here, else 200]",
)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def plan_command(
    gpus: int | None,
    gpu_memory: float | None,
    host_memory: float | None,
    nodes: int | None,
    prompt_tokens: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Tell whether a run fits a machine, which need not be this one.

    Takes the options of `aepo train`, and of the model its configuration alone: a hub id, or a folder with a
    config.json. Counts peak bytes of learners and engines on every GPU, of the host, and of checkpoints; a pass of the
    learner is counted operation by operation on tensors without contents, which takes seconds. Exits with 1 where it
    does not fit, and says which options would make it fit.

    \b
    Examples:
      aepo plan --model Qwen/Qwen2.5-1.5B --engine vllm --set dtype=bfloat16 --gpus 1 --gpu-memory 80
      aepo plan --config recipe:qwen2.5-math-7b-8x80gb --gpus 8 --gpu-memory 80
      aepo plan --config run.yaml --set learner_sharding=fsdp --gpus 16 --gpu-memory 141 --nodes 2
    """
    with input_errors():
        values = given_values(options)
        check_early(values, here=False)
    say("loading torch and ray ...")
    import ray  # noqa: F401 - configures its loggers on import

    quiet_libraries()
    from aepo_rllib.planning.fit import longest_prompt
    from aepo_rllib.planning.plan import make_plan
    from aepo_rllib.planning.proposals import propose, spread
    from aepo_rllib.planning.settings import Settings
    from aepo_rllib.planning.shape import read_shape

    with input_errors():
        run, config = unchecked(values)
        shape = read_shape(config.model_path)
        longest = prompt_tokens or longest_prompt(config)
        settings = Settings.of(config, prompt_tokens=longest, checkpoints=run.keep_checkpoints + 1)
        machine = machine_of(settings, gpus, gpu_memory, host_memory, nodes)
        spreading = {} if _asks_for_gpus(settings) or not machine.gpus else spread(machine.gpus)
        plan = make_plan(shape, replace(settings, **spreading), machine)
        proposal = propose(plan)
    if as_json:
        click.echo(json.dumps(as_record(plan, proposal, spreading), indent=2))
    else:
        show(plan, proposal, config.model_path, spreading)
    if not plan.fits:
        raise SystemExit(1)


plan_command.params[:0] = [param for param in train_command.params if param.name not in NOT_OF_TRAIN]


def machine_of(
    settings: Settings, gpus: int | None, gpu_memory: float | None, host_memory: float | None, nodes: int | None
) -> Machine:
    """The machine that is asked for; where nothing is said this one, with what GPUs the run wants if it has none."""
    from aepo_rllib.planning.machine import Machine, card_bytes, placed

    here = Machine.here()
    elsewhere = gpus is not None or (here.gpus == 0 and _asks_for_gpus(settings))
    count = gpus if gpus is not None else len(placed(settings)) if elsewhere else here.gpus
    card = card_bytes(gpu_memory or DEFAULT_CARD) if elsewhere or gpu_memory else here.gpu_memory
    host = int(host_memory * 2**30) if host_memory else None if elsewhere else here.host_memory
    return Machine(count, card, host, nodes or max(1, -(-count // GPUS_OF_NODE)))


def _asks_for_gpus(settings: Settings) -> bool:
    return bool(settings.num_gpus_per_learner or settings.num_gpus_per_env_runner)
