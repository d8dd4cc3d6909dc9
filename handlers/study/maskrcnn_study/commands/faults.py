"""`maskrcnn-server faults`"""

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.optional import required

MINUTES = 1.0


def faults(
    minutes: Annotated[float, typer.Option(min=0.05, help="Minutes of attacks.")] = MINUTES,
    seed: Annotated[
        int, typer.Option(help="Whoever gives the same seed sends the same inputs.")
    ] = 0,
    only: Annotated[
        list[str] | None, typer.Option(help="A kind of attack; several by repeating it.")
    ] = None,
    kills: Annotated[int, typer.Option(min=1, help="Least number of kills of a worker.")] = 1,
    terminations: Annotated[int, typer.Option(min=1, help="Least number of terminations.")] = 1,
    model: Annotated[
        Path | None, typer.Option(help="Model folder to serve (default: a fake model).")
    ] = None,
    backend: Annotated[str | None, typer.Option(help="Backend of that model.")] = None,
    precision: Annotated[str, typer.Option(help="Precision of that model.")] = "float32",
    sabotage: Annotated[
        str,
        typer.Option(
            help="Fault of a server on purpose, which the campaign has to notice: lose, fail, "
            "wrong, block, leak or chatter."
        ),
    ] = "",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the result to this file.")
    ] = None,
) -> None:
    """Attack servers of this installation in every way, and count what becomes of the requests.

    Hostile bodies, images, headers, forms and orders to load models; slow, silent, endless,
    malformed and vanishing connections; good requests among them, whose answers are compared with
    the right ones; workers that are killed, hang or use too much memory; SIGTERM under load; few
    file descriptors; a log that nobody reads. The server is pinged twenty times a second, and so is
    one that nobody asks anything, to tell what the machine itself delays. The exit code is 1 if a
    request got no reply, a wrong one or a status of 500, if a ping took more than 500 ms, but
    for the time in which other processes had the CPUs, or if memory grew by more than 10 %.
    """
    required("psutil", "maskrcnn-study[faults]")
    from maskrcnn_study.campaign.campaign import KINDS, Campaign
    from maskrcnn_study.campaign.saboteur import FAULTS
    from maskrcnn_study.campaign.servers import Victims
    from maskrcnn_study.campaign.tally import HEAD, LINE, total

    if unknown := sorted(set(only or ()) - set(KINDS)):
        raise InvalidSetting(f"--only {unknown[0]}: not one of {', '.join(KINDS)}")
    if sabotage and sabotage not in FAULTS:
        raise InvalidSetting(f"--sabotage {sabotage}: not one of {', '.join(FAULTS)}")
    tallies = []
    with tempfile.TemporaryDirectory() as folder:
        victims = Victims(Path(folder), model, backend, precision, sabotage)
        campaign = Campaign(victims, 60 * minutes, seed, only or KINDS, kills, terminations)
        typer.echo(f"{HEAD}\n{LINE}")
        for tally in campaign.run():
            tallies.append(tally)
            typer.echo(tally.row())
    tallies.append(total(tallies))
    problems = [each for tally in tallies[:-1] for each in tally.problems()]
    examples = [f"  {tally.kind}: {each}" for tally in tallies for each in tally.examples]
    typer.echo("\n".join([tallies[-1].row(), "", *problems, *examples]))
    if json_file:
        rows = [vars(tally) for tally in tallies]
        run = {"minutes": minutes, "seed": seed, "rows": rows, "problems": problems}
        json_file.write_text(json.dumps(run, indent=1) + "\n")
    if problems:
        raise typer.Exit(1)
