"""What every object of a result says of its making: the node, the models that took part, and when."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydicom import Dataset

from gsco_pacs.domain.findings import ModelIdentity, ObjectKind
from gsco_pacs.settings.processes import Equipment
from gsco_pacs.sr import codes
from gsco_pacs.sr.codes import concept
from gsco_pacs.sr.identity import device_uid, uid_of
from gsco_pacs.sr.wording import BANNER, DRAFT, plain, short

SERIES_NUMBER = {kind: 9001 + place for place, kind in enumerate(ObjectKind)}
"""High and the same in every study, so that hanging protocols can find or hide them: 9001 is the narrative."""


@dataclass(frozen=True)
class Maker:
    """The node with these builds of its models, at one moment (in local time)."""

    equipment: Equipment
    node_version: str
    models: Sequence[ModelIdentity]
    at: datetime

    @property
    def uid(self) -> str:
        """Device UID of the node with these builds of its models."""
        names = (self.equipment.manufacturer, self.equipment.model_name, self.equipment.serial_number)
        builds = [(model.name, model.version, model.sha256) for model in self.models]
        return uid_of("node", names, self.node_version, builds)

    def sign(self, own: Dataset, kind: ObjectKind, by: Sequence[ModelIdentity]) -> None:
        """Enter series number and description, dates, General Equipment and the models as Contributing Equipment.

        ``by`` are the models that Series Description names.
        """
        own.SeriesNumber = SERIES_NUMBER[kind]
        names = ", ".join(f"{model.name} {model.version}" for model in by)
        own.SeriesDescription = short(f"{DRAFT} - {names}")
        for moment in ("InstanceCreation", "Content", "Series"):
            setattr(own, f"{moment}Date", self.at.strftime("%Y%m%d"))
            setattr(own, f"{moment}Time", self.at.strftime("%H%M%S"))
        self._name_device(own, self.equipment.model_name, self.node_version, self.uid)
        own.DeviceSerialNumber = short(self.equipment.serial_number)
        own.StationName = short(self.equipment.station_name, 16)
        own.ContributingEquipmentSequence = [self._contribution(model) for model in self.models]

    def _name_device(self, item: Dataset, name: str, version: str, uid: str) -> None:
        item.Manufacturer = short(self.equipment.manufacturer)
        item.ManufacturerModelName = short(name)
        item.SoftwareVersions = short(version)
        item.DeviceUID = uid

    def _contribution(self, model: ModelIdentity) -> Dataset:
        """One algorithm as Contributing Equipment (IHE AIR; PS3.3 C.12.1)."""
        item = Dataset()
        self._name_device(item, model.name, model.version, device_uid(model))
        item.PurposeOfReferenceCodeSequence = [concept(codes.PROCESSING_EQUIPMENT)]
        item.ContributionDateTime = self.at.strftime("%Y%m%d%H%M%S%z")
        described = (BANNER, f"model_sha256={model.sha256 or 'unknown'}", *model.parameters)
        item.ContributionDescription = plain("; ".join(described))[:1024]
        return item
