"""Celery as a messenger: a message is a job id that wakes a worker; the database decides everything else."""

from pathlib import Path

from celery import Celery
from kombu.entity import Exchange, Queue
from kombu.exceptions import OperationalError

from gsco_pacs.adapters import folder_transport
from gsco_pacs.config import Config
from gsco_pacs.domain.errors import PeerUnavailableError
from gsco_pacs.domain.job import Stage

WAKE = "gsco_pacs.wake"
"""The name of the only task; senders use the name, so that they never import the worker."""

NO_JOB = 0
"""Wakes a worker for whatever else there is to do."""


def open_app(config: Config) -> Celery:
    """The Celery application of this node: one queue a stage, acknowledged late, one message at a time, no results."""
    app = Celery("gsco_pacs", set_as_current=False)
    lanes = [lane_of(stage) for stage in config.workers.stat_lanes]
    app.conf.update(
        broker_url=config.broker if config.broker != "folder" else folder_transport.register(),
        broker_transport_options=_transport(config),
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=4,
        task_queues=[Queue(name, Exchange(name), routing_key=name) for name in [*Stage, *lanes]],
        task_default_queue=Stage.CONSULT.value,
        task_serializer="json",
        accept_content=["json"],
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        task_publish_retry=False,
        worker_prefetch_multiplier=1,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_enable_remote_control=False,
        # Loading a model takes longer than Celery's 4 s for a new child.
        worker_proc_alive_timeout=300,
    )
    return app


def lane_of(stage: Stage) -> str:
    """The queue of the worker that takes STAT studies only."""
    return f"{stage.value}-stat"


def wake(app: Celery, job_id: int, stage: Stage, *, stat: bool = False) -> None:
    """Send the wake-up for ``job_id``; PeerUnavailableError if the broker is down (the housekeeper sends it again).

    A ``stat`` job wakes the stage's lane too, if it has one; whoever comes second finds nothing to do.
    """
    known = {queue.name for queue in app.conf.task_queues}
    queues = [stage.value, *([lane_of(stage)] if stat and lane_of(stage) in known else [])]
    try:
        for queue in queues:
            app.send_task(WAKE, args=[job_id], queue=queue)
    except (OperationalError, OSError, ValueError) as error:
        raise PeerUnavailableError(f"The broker did not take the message: {type(error).__name__}.") from error


def _transport(config: Config) -> dict[str, object]:
    if config.broker != "folder":
        return {"socket_timeout": 4, "socket_connect_timeout": 4} if config.broker.startswith("redis") else {}
    folder = config.state_dir / "queue"
    for part in ("messages", "control"):
        Path(folder / part).mkdir(parents=True, exist_ok=True)
    return {
        "data_folder_in": str(folder / "messages"),
        "data_folder_out": str(folder / "messages"),
        "control_folder": str(folder / "control"),
        "polling_interval": 0.1,
    }
