"""What `soc serve` holds over one home: `Services` opens and joins it, each part has its module.

`books`: what sources sent and where it is; `outgoing`: what the national centre is told; `retention`: what may go;
`units`: distant ones; `imports`: uploads; `background`: the loops that keep it all alive.
"""

from soc.pipeline.services.services import NO_GATEWAY, Services

__all__ = ["NO_GATEWAY", "Services"]
