"""The queries of the alerts and of the workbook, as Microsoft's language service reads them, and asked of rows.

They are taken from the kept deployments (`tests/infra/variants`). Neither Azure nor a network is needed.
"""
