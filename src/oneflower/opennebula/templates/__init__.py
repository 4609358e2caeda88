"""Everything that is given to OpenNebula, generated from the table of variables."""
