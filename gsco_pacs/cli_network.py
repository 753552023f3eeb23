"""The commands that speak to other nodes of the network."""

from pathlib import Path
from typing import Annotated

import typer

from gsco_pacs.config import load_config

network = typer.Typer(no_args_is_help=True, help=__doc__)


@network.command()
def send(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(help="DICOM files or folders.")],
    host: Annotated[str | None, typer.Option(help="Default: this node.")] = None,
    port: Annotated[int | None, typer.Option(help="Default: this node's port.")] = None,
    ae_title: Annotated[str | None, typer.Option(help="Called AE title. Default: this node's.")] = None,
    calling_ae: Annotated[str, typer.Option(help="Calling AE title.")] = "GSCO_SEND",
) -> None:
    """Send DICOM files by C-STORE, to this node unless another SCP is named."""
    from gsco_pacs.processes.commands import send_to

    failed = send_to(
        load_config(context.obj), paths, host=host, port=port, ae_title=ae_title, calling_ae=calling_ae
    )
    if failed:
        raise typer.Exit(1)
