"""The connection string of the development storage, which the clients read in different ways. Pure.

https://learn.microsoft.com/azure/storage/common/storage-use-emulator#connect-to-the-emulator-account-using-the-shortcut
"""

_ACCOUNT = "devstoreaccount1"
# The key of every Azurite. Microsoft has published it.
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_PORTS = {"Blob": 10000, "Queue": 10001, "Table": 10002}


def expand_connection(text: str) -> str:
    """Return a connection string in which `UseDevelopmentStorage=true` is spelt out. Any other is returned as it is.

    `DevelopmentStorageProxyUri` names the host of the emulator, which is 127.0.0.1 without it.
    """
    pairs = [part.partition("=") for part in text.split(";") if part.strip()]
    members = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if members.get("usedevelopmentstorage", "").lower() != "true":
        return text
    host = members.get("developmentstorageproxyuri", "http://127.0.0.1").rstrip("/")
    endpoints = [f"{service}Endpoint={host}:{port}/{_ACCOUNT}" for service, port in _PORTS.items()]
    account = [f"DefaultEndpointsProtocol={host.partition(':')[0]}", f"AccountName={_ACCOUNT}", f"AccountKey={_KEY}"]
    return ";".join([*account, *endpoints])
