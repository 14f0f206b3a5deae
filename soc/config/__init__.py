"""soc.toml to frozen settings: every knob with its default and its meaning.

Precedence: flags > `SOC_*` environment > file > defaults. An unknown key is an error with its place and the nearest
name, and all faults are told at once. `origins` remembers where each value came from, for `soc config show --origin`.
"""

from soc.config.entries import DEFAULT_LISTEN, PROTOCOLS, Entry, Listen, National, Sense, UnitRules
from soc.config.knobs import KNOBS, Knob
from soc.config.load import default_home, default_socket, load
from soc.config.settings import DEFAULT, FLAG, Settings, Shown

__all__ = [
    "DEFAULT",
    "DEFAULT_LISTEN",
    "FLAG",
    "KNOBS",
    "PROTOCOLS",
    "Entry",
    "Knob",
    "Listen",
    "National",
    "Sense",
    "Settings",
    "Shown",
    "UnitRules",
    "default_home",
    "default_socket",
    "load",
]
