"""Where the pages are reached: host, port, names and certificate. Knows sockets and TLS; no page.

Passwords travel encrypted, or not beyond this machine. Without a certificate the pages stay on the loopback, where an
SSH tunnel ends or a proxy that encrypts stands before them. Not looked at: whether browsers will trust a certificate,
until when it holds, and for which names it was made.
"""

from __future__ import annotations

import re
import socket
import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import NoReturn

from burnish.errors import ConfigError, MachineError, Problem

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]", "::1")
PROXIES = ("127.0.0.1", "::1")
"""Who is believed when a header says for whom a request is passed on, and whether it came encrypted. From elsewhere
anybody could write one, and guess at passwords under an address a guess."""
HTTPS = 443


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Where the pages listen, and what people's browsers ask for."""

    host: str = "127.0.0.1"
    """Where they listen."""
    port: int = 8600
    certificate: Path | None = None
    key: Path | None = None
    """Of the certificate; without it, the certificate's file has both."""
    called: tuple[str, ...] = ()
    """Names under which they are reached, beside the host: `names` has both."""

    @property
    def names(self) -> tuple[str, ...]:
        """Whose requests are answered, beside the loopback's. The first one stands in links."""
        return tuple(map(_name, (*self.called, *(() if _is_everywhere(self.host) else (self.host,)))))

    @property
    def address(self) -> str:
        """The pages' own, without a slash. A name without a certificate is a proxy's, at the usual port."""
        name = self.names[0]
        if self.certificate is None and is_loopback(name.strip("[]")):
            return f"http://{name}:{self.port}"
        port = HTTPS if self.certificate is None else self.port
        return f"https://{name}" if port == HTTPS else f"https://{name}:{port}"

    def check(self) -> None:
        """Raises ConfigError where passwords would travel unencrypted, or nobody could say where the pages are."""
        if self.certificate is None and self.key is not None:
            found, mend = "a key, and no certificate that it is of", "Give both: --certificate FILE --key FILE."
            raise ConfigError(Problem(f"--key {self.key}", found, mend))
        if self.certificate is None and not is_loopback(self.host):
            found = f'"{self.host}" can be reached from other machines, and passwords would travel there unencrypted'
            tunnel = f"ssh -L {self.port}:127.0.0.1:{self.port} THIS_MACHINE"
            mend = "Add --certificate FILE --key FILE; or keep the loopback, with a proxy that encrypts (--called NAME)"
            raise ConfigError(Problem("host", found, f"{mend} or an SSH tunnel: {tunnel}"))
        if not self.names:
            found = f'"{self.host}" is every address of this machine, and none that a link could name'
            raise ConfigError(Problem("host", found, f"Add the name that people will use: --called {_EXAMPLE}"))

    def check_certificate(self) -> None:
        """Raises ConfigError where the server could not begin with the files that it is to show who it is with."""
        if self.certificate is None:
            return
        key = self.key or self.certificate
        problems = dict.fromkeys([*_unfit(self.certificate, "CERTIFICATE"), *_unfit(key, "PRIVATE KEY")])  # each once
        if problems:
            raise ConfigError(*problems)

        def refuse() -> NoReturn:
            mend = f"Write one without, that nobody else may read: (umask 077; openssl pkey -in {key} -out NEW.pem)"
            raise ConfigError(Problem(str(key), "this key has a passphrase, and nobody is there to type it", mend))

        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, key, password=refuse)
        except ssl.SSLError as error:  # which file is meant, it does not say
            found = f"this is not the key of {self.certificate}, or one of them is damaged ({error.reason or error})"
            mend = f"Of a pair these say the same: openssl x509 -noout -pubkey -in {self.certificate}; "
            raise ConfigError(Problem(str(key), found, f"{mend}openssl pkey -pubout -in {key}")) from error

    def listen(self) -> socket.socket:
        """Raises MachineError for a port that is taken, or a host that is not this machine's."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listening = socket.socket(family, proto=socket.IPPROTO_TCP)  # named, or asyncio leaves Nagle's 40 ms a page on
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((self.host, self.port))
            listening.listen()  # so that whoever opens the link before all is up waits, and is not refused
        except OSError as error:
            listening.close()
            found = f"port {self.port} on {self.host} cannot be opened ({error.strerror})"
            mend = "Give another one with --port, or 0 for any that is free."
            raise MachineError(Problem("port", found, mend)) from error
        return listening


def is_loopback(host: str) -> bool:
    """Whether a host or an address is this machine itself. Everybody who comes through a tunnel has such an address."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    # Who listens on :: meets 127.0.0.1 as ::ffff:127.0.0.1, and Python 3.11 does not take that for the loopback.
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


_EXAMPLE = "labels.example.org"


def _name(text: str) -> str:
    """A host as browsers write it. Raises ConfigError for what is none: a `*` would be any, and any site could then
    have its own name lead here and read the pages (DNS rebinding)."""
    try:
        address = ip_address(text.strip("[]"))
    except ValueError:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", text):
            found = "this is not the name of a host alone, in the letters that browsers send"
            raise ConfigError(Problem(f'"{text}"', found, f"Write it like --called {_EXAMPLE}")) from None
        return text.lower()
    return f"[{address}]" if address.version == 6 else str(address)


def _is_everywhere(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def _unfit(path: Path, what: str) -> list[Problem]:
    """Why a file has no such part in PEM."""
    try:
        whole = f"{what}-----".encode() in path.read_bytes()
    except OSError as error:
        return [Problem(str(path), f"cannot be read ({error.strerror})", f"Look at it: ls -l {path}")]
    mend = "Give a file in PEM: a text with a line -----BEGIN"
    return [] if whole else [Problem(str(path), f"there is no {what.lower()} in PEM in it", f"{mend} {what}-----")]
