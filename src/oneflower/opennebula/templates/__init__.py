"""The files that OpenNebula reads, generated from the table of variables."""
