"""The commands that speak to other nodes of the network."""

import getpass
from pathlib import Path
from typing import Annotated

import typer

from gsco_pacs.config import load_config
from gsco_pacs.domain.archive import Criteria

network = typer.Typer(no_args_is_help=True, help=__doc__)


@network.command()
def send(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(help="DICOM files or folders.")],
    host: Annotated[str | None, typer.Option(help="Default: this node.")] = None,
    port: Annotated[int | None, typer.Option(help="Default: this node's port.")] = None,
    ae_title: Annotated[str | None, typer.Option(help="Called AE title. Default: this node's.")] = None,
    calling_ae: Annotated[str, typer.Option(help="Calling AE title.")] = "GSCO_SEND",
    tls_ca: Annotated[
        Path | None, typer.Option(help="Send over TLS to who has a certificate of these authorities, PEM.")
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="The certificate to show over TLS, PEM.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM, not encrypted.")] = None,
) -> None:
    """Send DICOM files by C-STORE, to this node unless another SCP is named."""
    from gsco_pacs.processes.commands import client_tls, send_to

    failed = send_to(
        load_config(context.obj), paths, host=host, port=port, ae_title=ae_title, calling_ae=calling_ae,
        tls=client_tls(tls_ca, tls_certificate, tls_key),
    )  # fmt: skip
    if failed:
        raise typer.Exit(1)


@network.command()
def dicomweb(context: typer.Context) -> None:
    """Take studies by STOW-RS."""
    from gsco_pacs.processes.dicomweb import run_dicomweb

    run_dicomweb(load_config(context.obj))


@network.command()
def fetcher(context: typer.Context) -> None:
    """Fetch the priors that routes want."""
    from gsco_pacs.processes.fetcher import run_fetcher

    run_fetcher(load_config(context.obj))


@network.command()
def fetch(
    context: typer.Context,
    archive: Annotated[str, typer.Option("--from", help="One of `archives`.")],
    study_uid: Annotated[str, typer.Argument(help="Study Instance UID.")] = "",
    accession: Annotated[str, typer.Option(help="Accession Number.")] = "",
    patient_id: Annotated[str, typer.Option(help="Patient ID: every study of the patient.")] = "",
    date: Annotated[
        str, typer.Option(help="Study Date or a range of them: 20260105, 20260101-20260131, 20260101-.")
    ] = "",
    modality: Annotated[str, typer.Option(help="Only studies with this modality.")] = "",
    wait: Annotated[float, typer.Option(help="Longest wait until the studies are read, in seconds.")] = 0,
) -> None:
    """Fetch studies from an archive; they are read like any others. Exit code 1 if anything is missing in the end."""
    from gsco_pacs.processes.fetch import fetch_studies

    criteria = Criteria(
        study_instance_uid=study_uid, accession_number=accession, patient_id=patient_id, study_date=date,
        modality=modality,
    )  # fmt: skip
    if not fetch_studies(load_config(context.obj), archive, criteria, getpass.getuser(), wait):
        raise typer.Exit(1)


@network.command()
def passcode(
    passcode: Annotated[str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True)],
) -> None:
    """Print the hash of a passcode, for `receiver.users` in config.yaml."""
    from gsco_pacs.adapters.user_identity import hash_passcode

    print(hash_passcode(passcode))


@network.command()
def conformance(context: typer.Context) -> None:
    """Print the DICOM Conformance Statement of the node as it is configured (Markdown)."""
    from gsco_pacs.processes.commands import state_conformance

    print(state_conformance(load_config(context.obj)))


@network.command()
def echo(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A destination or archive; without it all of them.")] = "",
) -> None:
    """C-ECHO the PACS that this node calls, and say what is wrong. Exit code 1 if one does not answer."""
    from gsco_pacs.processes.echo import echo_peers

    answers = []
    for answer in echo_peers(load_config(context.obj), name):
        print(f"{answer.key}: {answer.error or f'{answer.peer} answers.'}")
        answers.append(answer)
    if any(answer.error for answer in answers):
        raise typer.Exit(1)
