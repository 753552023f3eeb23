"""The web process: the administrator's read-only pages."""

import logging

import uvicorn

from gsco_pacs.adapters.audit import Audit
from gsco_pacs.config import Config
from gsco_pacs.processes.parts import open_database, start_logging, store_dir
from gsco_pacs.processes.question_door import open_door
from gsco_pacs.web.app import make_app

log = logging.getLogger(__name__)


def run_web(config: Config) -> None:
    """Serve the pages until SIGTERM or SIGINT; ConfigError if the database is not at this version's schema."""
    start_logging("web")
    app = make_app(Audit(open_database(config)), store_dir(config), config, open_door(config))
    log.info("The pages are at http://%s:%d/.", config.web.host, config.web.port)
    # An access log would write patient IDs that somebody searched for.
    uvicorn.run(
        app,
        host=config.web.host,
        port=config.web.port,
        log_config=None,
        access_log=False,
        server_header=False,
    )
