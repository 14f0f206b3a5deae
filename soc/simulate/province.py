"""A seeded province of owner units, information systems and devices, and its registry file."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from soc.model.clock import VIETNAM, Clock, utc

PROVINCE_NAME = "Kon Tum (mô phỏng)"
SITE = "kontum"
YOUNG_DAYS = 5
"""How many days ago the youngest system was registered: too few to owe its months of logs yet."""
CADENCE_S = 2.0
"""The stated cadence of `Province.silent_device`, in seconds between its lines, until it falls silent."""


@dataclass(frozen=True)
class Device:
    """One simulated sender. `address` is its own 127.x.y.z, from which its packets leave; `inside` its private address.

    `role` is what it speaks: `sshd`, `nginx`, `asa`, `fortigate`, `windows`, `netflow` or `snmp`.
    `weight` is its share of the background traffic; 0 sends only what a stream of its own makes.
    """

    role: str
    hostname: str
    system_id: str
    address: str
    inside: str
    weight: float = 1.0


@dataclass(frozen=True)
class Province:
    """Systems (registry documents) and the devices that belong to them."""

    seed: int
    site: str
    documents: tuple[Mapping[str, Any], ...]
    devices: tuple[Device, ...]

    def of_role(self, role: str) -> tuple[Device, ...]:
        """The devices that speak this, with a share of the background traffic, in registry order."""
        return tuple(d for d in self.devices if d.role == role and d.weight > 0)

    @property
    def silent_device(self) -> Device:
        """The one source that falls silent; its cadence is one line each `CADENCE_S` seconds."""
        return next(d for d in self.devices if d.weight == 0)

    def write_registry(self, folder: Path) -> Path:
        """Write `simulated.yml` (each document JSON, which is YAML 1.2) by rename; returns its path."""
        folder.mkdir(parents=True, exist_ok=True)
        text = "".join(f"---\n{json.dumps(d, ensure_ascii=False, indent=2)}\n" for d in self.documents)
        path, fresh = folder / "simulated.yml", folder / "simulated.yml.new"
        fresh.write_text(text, "utf-8")
        os.replace(fresh, path)
        return path


@dataclass(frozen=True)
class _System:
    code: str
    name: str
    unit: str
    level: int
    registered_days: int
    network: str
    devices: tuple[tuple[str, str, float], ...]
    link: str = ""


# Agency codes have the shape of Quyết định 20/2020/QĐ-TTg, Điều 4: `H40` is the province, `.01` the unit below it.
_UNITS = {
    "H40.01": "Sở Khoa học và Công nghệ (mô phỏng)",
    "H40.02": "Sở Y tế (mô phỏng)",
    "H40.03": "UBND phường Kon Tum (mô phỏng)",
    "H40.04": "Trung tâm Công nghệ thông tin (mô phỏng)",
}

_SYSTEMS = (
    _System(
        "DVC", "Hệ thống thông tin giải quyết thủ tục hành chính", "H40.01", 3, 700, "10.40.1",
        (("nginx", "dvc-web01", 3.0), ("sshd", "dvc-app01", 1.5)), "203.0.113.128/28",
    ),
    _System(
        "TTDL", "Trung tâm dữ liệu tỉnh", "H40.04", 4, 900, "10.40.2",
        (("asa", "ttdl-asa01", 4.0), ("netflow", "ttdl-rt01", 1.0), ("sshd", "ttdl-bastion01", 1.5)),
        "198.51.100.128/28",
    ),
    _System(
        "VBDH", "Hệ thống quản lý văn bản và điều hành", "H40.04", 3, 600, "10.40.3",
        (("windows", "vbdh-dc01", 2.0), ("windows", "vbdh-app01", 1.5)),
    ),
    _System(
        "HSSK", "Hệ thống hồ sơ sức khỏe điện tử", "H40.02", 3, 500, "10.40.4",
        (("nginx", "hssk-web01", 2.0), ("sshd", "hssk-db01", 1.0), ("fortigate", "hssk-fgt01", 2.0)),
    ),
    _System("CTTDT", "Cổng thông tin điện tử phường", "H40.03", 2, 400, "10.40.5", (("nginx", "cttdt-web01", 2.0),)),
    _System(
        "MANG", "Mạng nội bộ UBND phường", "H40.03", 1, 400, "10.40.6",
        (("snmp", "mang-sw01", 0.15), ("fortigate", "mang-fgt01", 1.5)),
    ),
    _System(
        "BV", "Hệ thống mạng nội bộ Sở Y tế", "H40.02", 2, 450, "10.40.7",
        (("fortigate", "bv-fgt01", 0.0), ("sshd", "bv-file01", 1.0)),
    ),
    _System(
        "IOC", "Trung tâm giám sát, điều hành thông minh", "H40.01", 3, YOUNG_DAYS, "10.40.8",
        (("sshd", "ioc-app01", 1.0), ("snmp", "ioc-sw01", 0.15)),
    ),
)  # fmt: skip


def _addresses(seed: int) -> list[str]:
    """Distinct loopback addresses, the same for a seed; 127.0.* and 127.255.* are left to the machine."""
    count = sum(len(s.devices) for s in _SYSTEMS)
    seconds = Random(f"{seed}:addresses").sample(range(1, 255), count)  # noqa: S311 - play, not secrets
    return [f"127.{second}.{10 + i}.{1 + second % 250}" for i, second in enumerate(seconds)]


def _document(system: _System, devices: list[Device], today: dt.date) -> dict[str, Any]:
    registered = (today - dt.timedelta(days=system.registered_days)).isoformat()
    decision = f"{100 + system.registered_days}/QĐ-MP"
    return {
        "kind": "system",
        "id": f"kontum-{system.code.lower()}",
        "name": f"{system.name} (mô phỏng)",
        "code": f"{system.unit}.{system.code}",
        "organization_id": system.unit,
        "organization_name": _UNITS[system.unit],
        "site": SITE,
        "levels": [{"level": system.level, "since": registered, "decision": decision}],
        "registered": registered,
        "networks": [f"{system.network}.0/24"],
        "hosts": [d.inside for d in devices],
        "points": [f"{system.code.lower()}-qt01"],
        "links": [system.link] if system.link else [],
        "sources": [d.address for d in devices],
        "contact": f"truc-{system.code.lower()}@kontum.example",
        "simulated": True,
    }


def build(seed: int, clock: Clock) -> Province:
    """The province of a seed. Registration dates count back from the clock's local (Vietnam) day."""
    today = utc(clock.now_ns()).astimezone(VIETNAM).date()
    addresses = iter(_addresses(seed))
    documents, devices = [], []
    for system in _SYSTEMS:
        own = [
            Device(role, name, f"kontum-{system.code.lower()}", next(addresses), f"{system.network}.{10 + i}", weight)
            for i, (role, name, weight) in enumerate(system.devices)
        ]
        documents.append(_document(system, own, today))
        devices.extend(own)
    return Province(seed, SITE, tuple(documents), tuple(devices))
