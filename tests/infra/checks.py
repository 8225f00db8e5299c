"""Every check of the infrastructure, by name. Each takes a project and yields its faults."""

from collections.abc import Callable, Iterator

from tests.infra import (
    alerts,
    azd,
    hardening,
    hosting,
    naming,
    network,
    oversight,
    parameters,
    preview,
    project,
    resources,
    roles,
    settings,
)

Check = Callable[[project.Project], Iterator[str]]
ALL: list[Check] = [
    project.compiles,
    resources.ids,
    resources.names,
    preview.preview,
    resources.enums,
    naming.tags,
    naming.overridden,
    resources.locations,
    resources.order,
    roles.roles,
    hardening.hardening,
    hardening.present,
    hardening.defaults,
    network.network,
    network.firewall,
    oversight.diagnostics,
    oversight.locks,
    oversight.encryption,
    settings.settings,
    settings.loaded,
    settings.passed_on,
    settings.local_example,
    settings.storage,
    parameters.parameters,
    parameters.limits,
    parameters.ranges,
    alerts.alerts,
    alerts.rules,
    azd.azd,
    hosting.host,
    hosting.outputs,
    hosting.regions,
]
CHECKS: dict[str, Check] = {check.__name__: check for check in ALL}
