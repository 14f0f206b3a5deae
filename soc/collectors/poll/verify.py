"""Why a server's certificate is not believed, where a client library says only that it is not."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

WAIT_S = 5.0


def unverified(host: str, port: int, authority: Path | None) -> str:
    """OpenSSL's words (`certificate has expired`, `unable to get local issuer certificate`, …); empty when it is
    believed or the server does not answer. `authority` None: those of the system."""
    try:
        context = ssl.create_default_context(cafile=authority)
        with (
            socket.create_connection((host, port), WAIT_S) as connection,
            context.wrap_socket(connection, server_hostname=host),
        ):
            return ""
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except (OSError, ValueError):
        return ""
