"""Chooses the models and destinations that config.yaml names; each is imported only by the stage that asks for it."""

from collections.abc import Callable
from pathlib import Path

from pydantic import TypeAdapter

from gsco_pacs.adapters.archive_query import ArchiveQuery
from gsco_pacs.adapters.bundle_names import check_names
from gsco_pacs.config import Config
from gsco_pacs.domain.commitment import Outcome
from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.ports import Asked, Confirming, Destination, Generalist
from gsco_pacs.processes.peers import archive_of, called_peer, http_peer
from gsco_pacs.settings.archives import ArchiveSettings
from gsco_pacs.settings.destinations import DicomwebDestination, DimseDestination, FolderDestination
from gsco_pacs.settings.generalists import OpenAIGeneralist, StructuredGeneralist
from gsco_pacs.settings.routes import RouteSettings


def open_destination(name: str, config: Config) -> Destination:
    """The destination called ``name``."""
    settings = config.destinations.get(name)
    if settings is None:
        raise ConfigError(
            f"The configuration has no destination {name!r} any more. Write it under `destinations` again, "
            "then retry the job."
        )
    if isinstance(settings, FolderDestination):
        from gsco_pacs.adapters.folder import Folder

        return Folder(name, config.absolute(settings.path), frozenset(settings.objects))
    if isinstance(settings, DicomwebDestination):
        from gsco_pacs.adapters.stow import StowRs

        return StowRs(name, http_peer(settings, f"destinations.{name}", config), frozenset(settings.objects))
    from gsco_pacs.adapters.store_scu import StoreScu

    return StoreScu(name, called_peer(settings, f"destinations.{name}", config), frozenset(settings.objects))


def open_confirming(name: str, config: Config, keep: Callable[[Outcome], bool]) -> Confirming:
    """Who knows what the destination called ``name`` keeps; ``keep`` makes a result durable that comes at once."""
    settings = config.destinations.get(name)
    if isinstance(settings, FolderDestination) or settings is None or settings.confirm is None:
        raise ConfigError(f"The destination {name!r} asks for no confirmation.")
    key = f"destinations.{name}"
    query = ArchiveQuery(archive_of(name, _as_archive(settings), key, config))
    if isinstance(settings, DicomwebDestination) or settings.confirm.by == "query":
        return query
    from gsco_pacs.adapters.commitment_scu import CommitmentScu

    return CommitmentScu(called_peer(settings, key, config), query, settings.confirm.wait_seconds, keep)


def _as_archive(settings: DimseDestination | DicomwebDestination) -> ArchiveSettings:
    """The destination as an archive that can be asked what it has."""
    shared = settings.model_dump(exclude={"objects", "confirm"})
    return TypeAdapter[ArchiveSettings](ArchiveSettings).validate_python(shared)


def bundles_of(route: RouteSettings, config: Config) -> tuple[Path, ...]:
    """The directories of the bundles that the route consults; ConfigError if one is missing or two speak as one."""
    bundles = tuple(config.bundle_dir(name) for name in route.specialists)
    check_names(bundles, route.name)
    return bundles


def open_specialists(name: str, config: Config) -> tuple[Asked, ...]:
    """The members of the bundle called ``name``, loaded and verified."""
    from gsco_pacs.adapters.bundle_format import segments

    bundle = config.bundle_dir(name)
    if segments(bundle):
        from gsco_pacs.adapters.segmentation_bundles import load_segmenter

        return (load_segmenter(bundle),)
    from gsco_pacs.adapters.bundles import load_bundle

    return load_bundle(bundle)


def open_generalist(name: str, config: Config) -> Generalist:
    """The generalist called ``name``, loaded."""
    settings = config.generalists.get(name)
    if settings is None:
        raise ConfigError(
            f"The configuration has no generalist {name!r}. Write it under `generalists` or name another: "
            f"{', '.join(sorted(config.generalists))}."
        )
    if isinstance(settings, StructuredGeneralist):
        from gsco_pacs.adapters import structured_generalist

        return structured_generalist.StructuredGeneralist()
    if isinstance(settings, OpenAIGeneralist):
        from gsco_pacs.adapters import openai_generalist

        return openai_generalist.OpenAIGeneralist(settings)
    from gsco_pacs.adapters import transformers_generalist

    path = config.absolute(settings.path)
    return transformers_generalist.TransformersGeneralist(
        path, settings.device, settings.dtype, settings.max_new_tokens, settings.quantization
    )


def specialists_of(routes: tuple[RouteSettings, ...]) -> tuple[str, ...]:
    """Every bundle that some route consults."""
    return tuple(dict.fromkeys(name for route in routes for name in route.specialists))
