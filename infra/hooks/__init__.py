"""What `azd` runs beside a deployment. Of the standard library only: no environment need be there."""
