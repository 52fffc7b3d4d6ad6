"""Which model servers may be asked, and what they may be sent.

A grid may come from a stranger, and it names the server and the rows to show. So a grid can choose
among the servers that the user named in the environment, but not add one: see `refusal`.
"""

from __future__ import annotations

import os
import re
from ipaddress import ip_address
from urllib.parse import urlsplit

NAMED = ("OPENAI_BASE_URL", "WORKBENCH_MODEL_SERVERS")
CONSENT = "WORKBENCH_SHARE_ROWS"
PORTS = {"http": 80, "https": 443}


def refusal(address: str) -> str | None:
    """Why nothing is sent to this address, in a sentence that says what to set, or None."""
    try:
        parts = urlsplit(address)
        known = parts.port or PORTS[parts.scheme]
    except (ValueError, KeyError):
        return f"base_url is {address!r}; give an address such as http://localhost:8000/v1."
    if parts.username or parts.query:
        return (
            "base_url holds a user, a password or a query; "
            "give the key as OPENAI_API_KEY and a plain address."
        )
    # A host with other characters is read differently by different programs
    if not known or not re.fullmatch(r"[\w.-]+|[0-9a-f:.]+", parts.hostname or ""):
        return f"base_url is {address!r}; give an address such as http://localhost:8000/v1."
    if is_named(address) or is_loopback(address):
        return None
    return (
        f"{address} is not a server that you named, so nothing is sent there; "
        f"set WORKBENCH_MODEL_SERVERS={address} if you trust it."
    )


def is_named(address: str) -> bool:
    """Whether the environment names this address: in OPENAI_BASE_URL, or among the addresses of
    WORKBENCH_MODEL_SERVERS, with spaces or commas between them.
    """
    listed = [text for name in NAMED for text in re.split(r"[\s,]+", os.environ.get(name, ""))]
    return plain(address) in {plain(text) for text in listed if text}


def is_loopback(address: str) -> bool:
    """Whether the address is this machine itself."""
    host = urlsplit(address).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def plain(address: str) -> str:
    """An address in one spelling: host in small letters, port written out, no slash at its end."""
    parts = urlsplit(address)
    try:
        port = parts.port or PORTS.get(parts.scheme)
    except ValueError:
        port = None
    return f"{parts.scheme}://{parts.hostname}:{port}{parts.path.rstrip('/')}"


def may_share_rows() -> bool:
    """Whether the user agreed to send real rows to a server; a grid cannot agree for them."""
    return os.environ.get(CONSENT) == "1"
