"""User identity of an association request (PS3.7 section D.3.3.7): user name and passcode, over TLS only."""

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.settings.receiver import User

_COST, _BLOCK, _LANES = 1 << 14, 8, 1
"""scrypt's parameters: 16 MiB and some 50 ms for each try."""

_HASH = re.compile(r"scrypt\$([A-Za-z0-9+/]{22}==)\$([A-Za-z0-9+/]{86}==)")

_USERNAME, _USERNAME_AND_PASSCODE = 1, 2
_OTHER_KINDS = {3: "a Kerberos service ticket", 4: "a SAML assertion", 5: "a JSON web token"}


@dataclass(frozen=True)
class Identity:
    """The identity that a request claims; ``kind`` is the User Identity Type."""

    kind: int
    name: bytes
    passcode: bytes


def hash_passcode(passcode: str, salt: bytes | None = None) -> str:
    """The salted hash of a passcode, for config.yaml."""
    salt = os.urandom(16) if salt is None else salt
    digest = hashlib.scrypt(passcode.encode(), salt=salt, n=_COST, r=_BLOCK, p=_LANES)
    return f"scrypt${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


class Users:
    """Who may identify himself. ConfigError for a hash that hash_passcode did not make."""

    def __init__(self, users: Iterable[User]) -> None:
        self._passcodes = {user.name: _parsed(user) for user in users}

    def why_not(self, identity: Identity | None, *, secured: bool, required: Iterable[str]) -> str | None:
        """Why the identity is not taken; None if it is, or if none is claimed and none is required.

        ``secured`` says whether it came over TLS. A user name without a passcode proves nothing and is ignored where
        nothing is required.
        """
        required = tuple(required)
        if identity is None or identity.kind == _USERNAME:
            return "it must name one of the sender's users, with the passcode." if required else None
        if identity.kind != _USERNAME_AND_PASSCODE:
            what = _OTHER_KINDS.get(identity.kind, f"of the unknown type {identity.kind}")
            return f"its user identity is {what}; only user name and passcode are supported."
        if not secured:
            return (
                "it sent a passcode without TLS, which anybody could read: change the passcode and use TLS."
            )
        if not self._is_right(identity):
            return "user name or passcode are wrong."
        is_wanted = not required or identity.name.decode() in required
        return None if is_wanted else "its user is not one of the sender's users."

    def _is_right(self, identity: Identity) -> bool:
        # An unknown name takes as long as a known one.
        salt, digest = self._passcodes.get(identity.name.decode(errors="replace"), (b"", b""))
        tried = hashlib.scrypt(identity.passcode, salt=salt, n=_COST, r=_BLOCK, p=_LANES)
        return hmac.compare_digest(tried, digest)


def _parsed(user: User) -> tuple[bytes, bytes]:
    found = _HASH.fullmatch(user.passcode)
    if found is None:
        raise ConfigError(f"receiver.users: {user.name}: passcode must be what `gsco-pacs passcode` prints.")
    return base64.b64decode(found[1]), base64.b64decode(found[2])
