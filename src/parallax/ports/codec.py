"""The one written form of a fact, and the hash chain over it: what the journal stores, the event stream sends
and a receipt proves.

A record is UTF-8 JSON `["FactName",{fields…}]` with fields in the order of the fact's definition, instants as
ISO 8601 in UTC. Its digest is SHA-256 of those bytes; its hash is SHA-256 of the hash before it followed by the
digest. Anyone can follow a chain with these two lines and no program of ours.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from parallax.domain.facts import FACT_TYPES, Fact

_ENCODER: Final = msgspec.json.Encoder()
_DECODERS: Final = {name: msgspec.json.Decoder(kind) for name, kind in FACT_TYPES.items()}
_ENVELOPE: Final = msgspec.json.Decoder(tuple[str, msgspec.Raw])


def encode(fact: Fact) -> bytes:
    """The record of a fact. Raises `ValueError` when a text in it is not Unicode (a lone surrogate)."""
    return _ENCODER.encode((type(fact).__name__, fact))


def decode(record: bytes) -> Fact:
    """The fact of a record. Raises `ValueError` when it is not one."""
    name, body = _ENVELOPE.decode(record)
    decoder = _DECODERS.get(name)
    if decoder is None:
        raise ValueError(f"no fact is named {name[:40]!r}")
    return decoder.decode(body)


def digest(record: bytes) -> bytes:
    """SHA-256 of a record."""
    return hashlib.sha256(record).digest()


def chained(before: bytes, record_digest: bytes) -> bytes:
    """The hash of a fact: SHA-256 over the hash before it and its own digest."""
    return hashlib.sha256(before + record_digest).digest()
