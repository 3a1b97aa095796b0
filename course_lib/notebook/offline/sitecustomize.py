"""Python imports a module of this name at every start, if it finds one on its path: here, to reach nothing but this computer.

`course_lib.notebook.publish.offline` says how to put it there. Only the standard library is used, and only when it is needed.
"""

from __future__ import annotations

import sys

# Events of https://docs.python.org/3/library/audit_events.html, with the place of the address or name among their arguments.
ADDRESSES = {"socket.connect": 1, "socket.sendto": 1, "socket.sendmsg": 1}
NAMES = {"socket.getaddrinfo": 0, "socket.gethostbyname": 0, "socket.gethostbyaddr": 0}
DISCARD = 9
"""The port of `publish.offline`'s proxy, which isn't there."""


def guard(event: str, arguments: tuple[object, ...]) -> None:
    """Raise an OSError where something is about to reach for another computer.

    A socket that can't leave (Jupyter's own, through a file or the loopback interface) is let through.
    """
    if event in ADDRESSES:
        import socket

        address = arguments[ADDRESSES[event]]
        if getattr(arguments[0], "family", None) in (socket.AF_INET, socket.AF_INET6) and isinstance(address, tuple):
            _refuse_unless_here(address[0], address[1])
    elif event in NAMES:
        _refuse_unless_here(arguments[NAMES[event]])


def _refuse_unless_here(host: object, port: object = None) -> None:
    import errno

    name = host.decode(errors="replace") if isinstance(host, bytes | bytearray) else str(host or "localhost")
    if port == DISCARD:
        name = "the web"
    elif _is_here(name, connecting=port is not None):
        return
    raise OSError(errno.ENETUNREACH, f"the network is blocked, because lessons run offline: something wanted to reach {name}")


def _is_here(name: str, *, connecting: bool) -> bool:
    """Whether a name or address is this computer's; or an address that is only looked up, for which nobody is asked."""
    import ipaddress
    import socket

    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name.lower().rstrip(".") in ("localhost", "ip6-localhost", socket.gethostname().lower())
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified or not connecting


sys.addaudithook(guard)
