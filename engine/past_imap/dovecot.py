"""Configuration of Dovecot, for 2.3 and for 2.4: the `.conf` files beside this one, filled in.

`server` is the whole of a server of the past, for logins `NAME@TIME`. `folders` is what the live
server includes, for a folder `Backup` in every mailbox.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from engine.domain.errors import UsageError

VERSIONS = ("2.3", "2.4")

BACKUP = "Backup"
VIEWS = (
    ("1 hour ago", "1h-ago"),
    ("yesterday", "yesterday"),
    ("last week", "1w-ago"),
    ("a month ago", "30d-ago"),
    ("deleted", "latest"),
)
"""What stands in the folder `Backup`, and the view of each."""


class SiteSettings(NamedTuple):
    """What a configuration depends on."""

    mount: Path
    directory: Path
    user: str
    """Who reads mail, and whom the mount lets in."""
    group: str


class ServerSettings(NamedTuple):
    """What that of a server depends on besides."""

    address: str
    port: int
    gate: int
    """The port of `engine.past_imap.gate`."""
    certificate: str
    """Files; without them it serves plain text, on loopback alone."""
    key: str
    internal: str
    """Who runs Dovecot's own services, and"""
    login: str
    """who speaks with strangers."""


def server(version: str, site: SiteSettings, serving: ServerSettings) -> str:
    """The configuration of a server of the past. Raises UsageError for paths that can't stand in
    it."""
    fields = _fields(site) | {
        "address": serving.address,
        "port": "0" if serving.certificate else str(serving.port),
        "tls_port": str(serving.port) if serving.certificate else "0",
        "gate": str(serving.gate),
        "internal": serving.internal,
        "login": serving.login,
        "ssl": "required" if serving.certificate else "no",
        "clear": "no" if serving.certificate else "yes",
        "disable_clear": "yes" if serving.certificate else "no",
        "certificate": _certificate(version, serving),
    }
    return _template(f"server-{version}.conf").format(**fields)


def ask(gate: int) -> str:
    """The program by which Dovecot 2.3 asks at the gate's port."""
    return _template("ask-2.3.sh").replace("GATE", str(gate))


def folders(version: str, site: SiteSettings, separator: str) -> str:
    """What the live server includes, whose namespaces have this separator."""
    fields = _fields(site)
    parts = [_template("folders-head.conf").format(**fields)]
    template = _template(f"folder-{version}.conf")
    for name, view in VIEWS:
        below = f"{view}/.own"
        inside = ".deleted" if name == "deleted" else ".plain"
        parts.append(
            template.format(
                **fields,
                key=name.replace(" ", "-"),
                prefix=f"{BACKUP}{separator}{name}{separator}",
                separator=separator,
                below=below,
                inside=inside,
                name=name.replace(" ", "-"),
            )
        )
    return "\n".join([*parts, _template(f"folders-tail-{version}.conf").format(**fields)])


def _template(name: str) -> str:
    return (files("engine.past_imap") / name).read_text("utf-8")


def acl() -> str:
    """Rights that let nobody write."""
    return "* owner lr\n* anyone lr\n"


def folders_acl(separator: str) -> str:
    """The same for the folder `Backup` and what is in it."""
    return f"{BACKUP} owner lr\n{BACKUP}{separator}* owner lr\n"


def _fields(site: SiteSettings) -> dict[str, str]:
    for path in (site.mount, site.directory):
        if not path.is_absolute() or any(c in '"%:{}#\\\n' or c.isspace() for c in str(path)):
            raise UsageError(f"{path}: Dovecot can't have this path here: choose a plain one")
    return {
        "mount": str(site.mount),
        "directory": str(site.directory),
        "user": site.user,
        "group": site.group,
    }


def _certificate(version: str, serving: ServerSettings) -> str:
    if not serving.certificate:
        return ""
    if version == "2.3":
        return f"ssl_cert = <{serving.certificate}\nssl_key = <{serving.key}\n"
    return f"ssl_server_cert_file = {serving.certificate}\nssl_server_key_file = {serving.key}\n"
