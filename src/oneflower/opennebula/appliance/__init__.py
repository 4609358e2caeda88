"""A virtual machine on OpenNebula: the stages `configure` and `bootstrap`, and the report service."""
