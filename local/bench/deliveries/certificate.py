"""A certificate for one run. The server shows it, and the client trusts nothing else."""

import datetime as dt
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

VALID = dt.timedelta(hours=1)
PAIR = "pair.pem"


@dataclass(frozen=True)
class Certificate:
    """The file with the server's certificate and key, and the client's TLS context."""

    pair: Path
    client: ssl.SSLContext = field(repr=False)


def certificate(directory: Path, names: Iterable[str]) -> Certificate:
    """Make a certificate for these names, and store its key in the directory."""
    key = ec.generate_private_key(ec.SECP256R1())
    shown = _signed(key, names).public_bytes(serialization.Encoding.PEM)
    pair = directory / PAIR
    pair.touch(mode=0o600)
    pair.write_bytes(shown + _pem(key))
    return Certificate(pair, ssl.create_default_context(cadata=shown.decode()))


def _signed(key: ec.EllipticCurvePrivateKey, names: Iterable[str]) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    itself = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a receiver of this benchmark")])
    return (
        x509.CertificateBuilder(itself, itself, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - VALID)
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
